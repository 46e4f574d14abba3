//! How the operator itself signs in to Redis.

use std::path::Path;

use redis::{Client, ClientTlsConfig, ConnectionInfo, IntoConnectionInfo, TlsCertificates};

use crate::config::RedisSettings;

/// Why Redis cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum RedisConfigError {
    /// The URL cannot be used.
    #[error("redis.url: {0}; it must be redis://host:port[/db] or rediss://…")]
    Url(String),
    /// The URL holds a password, which would end up in every ConfigMap.
    #[error(
        "redis.url must not hold a user or password: put them in files and name those in usernameFile and passwordFile"
    )]
    UrlHoldsSecret,
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

/// A client for the operator's own user.
///
/// # Errors
/// When the URL, or a file that the settings name, cannot be used.
pub fn open(settings: &RedisSettings) -> Result<Client, RedisConfigError> {
    let info: ConnectionInfo =
        settings.url.as_str().into_connection_info().map_err(|e| RedisConfigError::Url(e.to_string()))?;
    let mut login = info.redis_settings().clone();
    if login.username().is_some() || login.password().is_some() {
        return Err(RedisConfigError::UrlHoldsSecret);
    }
    if let Some((username, password)) = operator_login(settings)? {
        if let Some(username) = username {
            login = login.set_username(username);
        }
        login = login.set_password(password);
    }
    let info = info.set_redis_settings(login);
    let client = match ca(settings)? {
        Some(ca) => {
            let certificates = TlsCertificates { client_tls: None::<ClientTlsConfig>, root_cert: Some(ca) };
            Client::build_with_tls(info, certificates)
        }
        None => Client::open(info),
    };
    client.map_err(|e| RedisConfigError::Url(e.to_string()))
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
pub fn ca(settings: &RedisSettings) -> Result<Option<Vec<u8>>, RedisConfigError> {
    let path = settings.tls.as_ref().and_then(|tls| tls.ca_file.as_deref());
    path.map(|path| read("tls.caFile", path)).transpose()
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
    use crate::config::RedisUsers;

    fn settings(url: &str) -> RedisSettings {
        RedisSettings {
            url: url.to_owned(),
            key_prefix: "gatehouse".to_owned(),
            users: RedisUsers::Managed,
            username_file: None,
            password_file: None,
            tls: None,
            min_replicas: 0,
        }
    }

    #[test]
    fn a_bad_url_says_what_is_allowed() {
        let error = open(&settings("http://redis:6379")).unwrap_err().to_string();
        assert!(error.contains("redis://host:port"), "{error}");
        let error = open(&settings("redis://u:p@redis:6379")).unwrap_err().to_string();
        assert!(error.contains("passwordFile") && !error.contains("p@"), "{error}");
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let missing =
            RedisSettings { password_file: Some("/nowhere/password".into()), ..settings("redis://r:1") };
        let error = open(&missing).unwrap_err().to_string();
        assert!(error.contains("redis.passwordFile") && error.contains("/nowhere/password"), "{error}");
    }
}
