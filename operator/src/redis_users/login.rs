//! How the operator itself signs in to Redis.

use std::path::Path;

use gatehouse_gateway_config::redis::RedisTargetError;
use gatehouse_redis::{Certificate, Login};
use zeroize::Zeroizing;

use crate::config::{RedisSettings, RedisTls};

/// Why Redis cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum RedisConfigError {
    /// The URL or the nodes cannot be used.
    #[error("redis.url: {0}")]
    Url(#[from] RedisTargetError),
    /// A file cannot be read.
    #[error("redis.{field}: cannot read {path}: {source}")]
    File {
        /// The field of the configuration.
        field: &'static str,
        /// The path.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// As whom the operator comes, and whom it trusts, from its files as they are now.
///
/// # Errors
/// When a file that the settings name cannot be read.
pub fn login(settings: &RedisSettings) -> Result<Login, RedisConfigError> {
    let (username, password) = match operator_login(settings)? {
        Some((username, password)) => (username, Some(Zeroizing::new(password))),
        None => (None, None),
    };
    let server_name = settings.tls.as_ref().and_then(|tls| tls.server_name.clone());
    Ok(Login { username, password, ca: ca(settings)?, certificate: certificate(settings)?, server_name })
}

/// The operator's own user (absent: `default`) and password, when there is a password.
///
/// # Errors
/// When a file that the settings name cannot be read.
pub fn operator_login(
    settings: &RedisSettings,
) -> Result<Option<(Option<String>, String)>, RedisConfigError> {
    let text = |field, path: &Path| {
        let bytes = read(field, path)?;
        Ok::<_, RedisConfigError>(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned())
    };
    let Some(password) = &settings.password_file else { return Ok(None) };
    let username = settings.username_file.as_ref().map(|path| text("usernameFile", path)).transpose()?;
    Ok(Some((username, text("passwordFile", password)?)))
}

/// The CA certificates (PEM) that the settings name.
///
/// # Errors
/// When the file cannot be read.
fn ca(settings: &RedisSettings) -> Result<Option<Vec<u8>>, RedisConfigError> {
    let path = settings.tls.as_ref().and_then(|tls| tls.ca_file.as_deref());
    path.map(|path| read("tls.caFile", path)).transpose()
}

/// The client certificate and its key (PEM) that the settings name.
///
/// # Errors
/// When a file cannot be read.
fn certificate(settings: &RedisSettings) -> Result<Option<Certificate>, RedisConfigError> {
    let Some(RedisTls { cert_file: Some(certificate), key_file: Some(key), .. }) = &settings.tls else {
        return Ok(None);
    };
    let key = Zeroizing::new(read("tls.keyFile", key)?);
    Ok(Some((read("tls.certFile", certificate)?, key)))
}

fn read(field: &'static str, path: &Path) -> Result<Vec<u8>, RedisConfigError> {
    std::fs::read(path).map_err(|source| RedisConfigError::File {
        field,
        path: path.display().to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OperatorConfig;

    #[test]
    fn a_file_that_is_missing_is_named() {
        let mut missing = OperatorConfig::offline().redis;
        missing.password_file = Some("/nowhere/password".into());
        let error = login(&missing).unwrap_err().to_string();
        assert!(error.contains("redis.passwordFile") && error.contains("/nowhere/password"), "{error}");
    }
}
