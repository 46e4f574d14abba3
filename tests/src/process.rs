//! Child processes whose output is kept and who end with their value.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    task::JoinHandle,
};

use crate::net::{PATIENCE, eventually};

/// How long the output of a program that has ended may take.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    out: Arc<Mutex<Vec<String>>>,
    err: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `command`; its output is kept, its input stays open.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Self {
        let program = command.as_std().get_program().to_owned();
        let name = Path::new(&program).file_name().unwrap_or(&program).to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("{name} cannot be started: {e} (tests/run installs it)"));
        let (out, out_reader) = keep(child.stdout.take().expect("it is piped"));
        let (err, err_reader) = keep(child.stderr.take().expect("it is piped"));
        Self { name, stdin: child.stdin.take(), child, out, err, readers: vec![out_reader, err_reader] }
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its resident memory, in KiB.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resident(&self) -> u64 {
        let id = self.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().trim_end_matches("kB").trim().parse().expect("a number")
    }

    /// Writes a line to its input.
    pub async fn write_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        stdin.write_all(format!("{line}\n").as_bytes()).await.expect("it reads its input");
        stdin.flush().await.expect("it reads its input");
    }

    /// Closes its input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Line `index` of its standard output, when it has been written.
    ///
    /// # Panics
    /// When the process ends before it.
    pub async fn line(&mut self, index: usize) -> String {
        let out = self.out.clone();
        let line = eventually(&format!("line {index} of {}:\n{}", self.name, self.output()), async || {
            let line = out.lock().unwrap().get(index).cloned();
            line.or_else(|| self.has_ended().then(String::new))
        })
        .await;
        // The reader may be a moment behind the exit.
        let written = !line.is_empty() || out.lock().unwrap().len() > index;
        assert!(written, "{} ended early:\n{}", self.name, self.output());
        line
    }

    /// Waits for a line of either output that contains `text`, and gives it.
    ///
    /// # Panics
    /// When the process ends before it.
    pub async fn line_with(&mut self, text: &str) -> String {
        eventually(&format!("{text:?} from {}", self.name), async || {
            let found = self.output().lines().find(|l| l.contains(text)).map(str::to_owned);
            assert!(found.is_some() || !self.has_ended(), "{} ended early:\n{}", self.name, self.output());
            found
        })
        .await
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Closes its input, and waits for its end and for all that it wrote.
    pub async fn wait(&mut self) -> ExitStatus {
        self.stdin = None;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("{} does not end:\n{}", self.name, self.output()));
        for reader in self.readers.drain(..) {
            // A child of its own may hold the pipe open, and is not waited for.
            let _ = tokio::time::timeout(AFTERWARDS, reader).await;
        }
        status.expect("it is our child")
    }

    /// Kills it, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it is our child");
    }

    /// Asks it to end (SIGTERM).
    pub async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Sends it a signal, named without `SIG`.
    pub async fn signal(&self, signal: &str) {
        if let Some(id) = self.child.id() {
            let mut kill = Command::new("kill");
            let status = kill.args(["-s", signal, &id.to_string()]).status().await.expect("kill exists");
            assert!(status.success(), "{} cannot be sent {signal}", self.name);
        }
    }

    /// What it wrote so far: standard output, then standard error.
    pub fn output(&self) -> String {
        format!("{}\n{}", self.out.lock().unwrap().join("\n"), self.err.lock().unwrap().join("\n"))
    }

    /// What it wrote on standard output so far.
    pub fn stdout(&self) -> String {
        self.out.lock().unwrap().join("\n")
    }
}

fn keep(stream: impl AsyncRead + Unpin + Send + 'static) -> (Arc<Mutex<Vec<String>>>, JoinHandle<()>) {
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let kept = lines.clone();
    let reader = tokio::spawn(async move {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).await.is_ok_and(|n| n > 0) {
            kept.lock().unwrap().push(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    });
    (lines, reader)
}
