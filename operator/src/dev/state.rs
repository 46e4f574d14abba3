//! The sealing keys of `gatehouse dev`: a file for each server in `--state`, shared by replicas.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use gatehouse_gateway_config::keys::Keyring;

/// The keys of a server: those of the file where there is one, else new ones, which are kept there.
///
/// Replicas that start together agree: the file is written under another name and linked into place, and who comes
/// second reads what the first linked.
///
/// # Errors
/// When the file cannot be read, written or trusted; the text says which file, and what to do.
pub(super) fn keyring(
    directory: &Path,
    namespace: &str,
    name: &str,
    fresh: impl FnOnce() -> Keyring,
) -> Result<Keyring, String> {
    let failed = |path: &Path, why: &dyn std::fmt::Display| format!("--state: {}: {why}", path.display());
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|e| failed(directory, &e))?;
    let path = directory.join(format!("{namespace}.{name}.keyring.json"));
    if !path.exists() {
        write(&path, &fresh().to_json()).map_err(|e| failed(&path, &e))?;
    }
    let mode = std::fs::metadata(&path).map_err(|e| failed(&path, &e))?.mode();
    if mode & 0o077 != 0 {
        let why = format!("others may read these keys (mode {:o}): chmod 600 it, or remove it", mode & 0o777);
        return Err(failed(&path, &why));
    }
    let bytes = std::fs::read(&path).map_err(|e| failed(&path, &e))?;
    Keyring::parse(&bytes).map_err(|e| failed(&path, &e))
}

/// Writes a file for its owner alone, unless another process has written it meanwhile.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let draft: PathBuf = path.with_extension(format!("{}.draft", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use rand::{SeedableRng, rngs::StdRng};
    use tempfile::TempDir;

    use super::*;

    fn ring(seed: u64) -> Keyring {
        Keyring::generate(&mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn the_first_keys_stay_and_are_for_their_owner_alone() {
        let root = TempDir::new().unwrap();
        let directory = root.path().join("state");
        let first = keyring(&directory, "team-a", "github", || ring(1)).unwrap();
        assert_eq!(keyring(&directory, "team-a", "github", || ring(2)).unwrap(), first);
        assert_ne!(keyring(&directory, "team-b", "github", || ring(2)).unwrap(), first);
        let mode = std::fs::metadata(directory.join("team-a.github.keyring.json")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_that_others_may_read_or_that_is_no_ring_is_refused() {
        let root = TempDir::new().unwrap();
        keyring(root.path(), "a", "b", || ring(1)).unwrap();
        let path = root.path().join("a.b.keyring.json");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(keyring(root.path(), "a", "b", || ring(1)).unwrap_err().contains("chmod 600"));
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "{}").unwrap();
        assert!(keyring(root.path(), "a", "b", || ring(1)).unwrap_err().contains("a.b.keyring.json"));
    }
}
