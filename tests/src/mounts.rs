//! What a gateway's pods have as files: the configuration that the operator renders, the keys, and the Secrets that it
//! names. A test changes a Secret as the kubelet does, under pods that go on.

use std::{fs, path::PathBuf};

use gatehouse_gateway_config::{KEYRING_KEY, KeyRef, keys::Keyring};
use gatehouse_operator::clock::Entropy;
use serde_json::Value;
use tokio::process::Command;

use crate::dev::{beside, gatehouse_path};

/// A directory of a test's own, which every replica has mounted.
#[derive(Debug)]
pub(crate) struct Mounts(PathBuf);

impl Mounts {
    /// Nothing is there before [`Mounts::fill`].
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Renders the manifests as the operator does that has this configuration, and mounts the Secrets among them.
    pub(crate) fn fill(&self, manifest: &str, operator: &Value) {
        fs::create_dir_all(&self.0).expect("the directory is ours");
        let write = |name: &str, text: &str| {
            let path = self.0.join(name);
            fs::write(&path, text).expect("the directory is ours");
            path
        };
        let mut render = std::process::Command::new(gatehouse_path());
        render.arg("render").arg("--file").arg(write("manifest.yaml", manifest));
        let rendered = render.arg("--config").arg(write("operator.yaml", &operator.to_string())).output();
        let rendered = rendered.expect("the program can be started");
        assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
        let rendered = documents(&String::from_utf8_lossy(&rendered.stdout));
        let map = rendered.iter().find(|o| o["kind"] == "ConfigMap").expect("the configuration is rendered");
        let config = map["data"].as_object().and_then(|data| data.values().next()?.as_str());
        write("config.yaml", config.expect("it is a text"));
        write(KEYRING_KEY, &Entropy::system().with(Keyring::generate).to_json());
        for secret in documents(manifest).iter().filter(|o| o["kind"] == "Secret") {
            let name = secret["metadata"]["name"].as_str().expect("a Secret has a name");
            for (key, value) in secret["stringData"].as_object().into_iter().flatten() {
                self.put(name, key, value.as_str().expect("a text"));
            }
        }
    }

    /// The gateway's own program, which reads these files.
    pub(crate) fn command(&self) -> Command {
        let mut command =
            Command::new(beside("gatehouse-gateway", "cargo build --package gatehouse-gateway"));
        command.env("RUST_BACKTRACE", "1").arg("--config").arg(self.0.join("config.yaml"));
        command.arg("--keys-dir").arg(&self.0).arg("--refs-dir").arg(&self.0);
        command
    }

    /// Sets a key of a Secret. Nobody reads half of it.
    pub(crate) fn put(&self, name: &str, key: &str, value: &str) {
        let (file, draft) = (self.file(name, key), self.0.join("draft"));
        fs::create_dir_all(file.parent().expect("it is below ours")).expect("the directory is ours");
        fs::write(&draft, value).expect("the directory is ours");
        fs::rename(draft, file).expect("the directory is ours");
    }

    /// Takes a key out of a Secret.
    pub(crate) fn take(&self, name: &str, key: &str) {
        fs::remove_file(self.file(name, key)).expect("it is there");
    }

    fn file(&self, name: &str, key: &str) -> PathBuf {
        KeyRef::secret(name, key).path_under(&self.0)
    }
}

/// The objects of a text of YAML documents; comments alone are none.
fn documents(text: &str) -> Vec<Value> {
    let documents = text.split("---\n").filter(|document| document.contains("kind:"));
    documents.map(|document| serde_saphyr::from_str(document).expect("it is YAML")).collect()
}
