//! A proxy before Redis that cuts, stalls, loses answers, and counts.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing.
    Pass,
    /// They end, and new ones end at once.
    Cut,
    /// Requests vanish.
    Stall,
    /// Requests arrive; with the first byte of an answer the connection ends.
    LoseAnswer,
    /// So many answers pass, at least one, and are the last: [`Mode::Cut`] from then on.
    Answers(usize),
}

pub(crate) struct Chaos {
    mode: Arc<watch::Sender<Mode>>,
    pub(crate) port: u16,
    open: Arc<AtomicUsize>,
    turns: Arc<AtomicUsize>,
    target: Arc<Mutex<PathBuf>>,
    task: tokio::task::JoinHandle<()>,
}

impl Chaos {
    pub(crate) async fn before(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(watch::Sender::new(Mode::Pass));
        let (modes, open) = (mode.clone(), Arc::new(AtomicUsize::new(0)));
        let (count, target) = (open.clone(), Arc::new(Mutex::new(socket)));
        let turns = Arc::new(AtomicUsize::new(0));
        let (to, asked) = (target.clone(), turns.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let target = to.lock().unwrap().clone();
                let carried = Box::pin(carry(client, target, modes.clone(), asked.clone()));
                let count = count.clone();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    carried.await;
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { mode, port, open, turns, target, task }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How often somebody asked, on whichever connection: what is sent before anything is answered is one question.
    pub(crate) fn turns(&self) -> usize {
        self.turns.load(Ordering::SeqCst)
    }

    /// Where new connections go from now on.
    pub(crate) fn lead_to(&self, socket: PathBuf) {
        *self.target.lock().unwrap() = socket;
    }

    /// Ends every connection, and waits until they are gone on both sides.
    pub(crate) async fn cut_idle(&self) {
        self.set(Mode::Cut);
        while self.open.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
        self.set(Mode::Pass);
        // The end is already in the other side's socket; let the runtime look.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, socket: PathBuf, mode: Arc<watch::Sender<Mode>>, turns: Arc<AtomicUsize>) {
    let Ok(server) = UnixStream::connect(socket).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = mode.subscribe();
    let answered = AtomicBool::new(true);
    let asks = || {
        if answered.swap(false, Ordering::SeqCst) {
            turns.fetch_add(1, Ordering::SeqCst);
        }
    };
    let answers = || answered.store(true, Ordering::SeqCst);
    tokio::select! {
        () = pump(from_client, to_server, (&mode, Mode::Stall), asks) => {}
        () = pump(from_server, to_client, (&mode, Mode::LoseAnswer), answers) => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

/// Carries bytes; in the mode `lost` they vanish, and an answer takes its connection along.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    (mode, lost): (&watch::Sender<Mode>, Mode),
    came: impl Fn(),
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        came();
        let now = *mode.borrow();
        if now != lost {
            if to.write_all(&buffer[..n]).await.is_err() {
                return;
            }
            if let (Mode::Answers(left), Mode::LoseAnswer) = (now, lost) {
                mode.send_replace(if left > 1 { Mode::Answers(left - 1) } else { Mode::Cut });
            }
        } else if lost == Mode::LoseAnswer {
            return;
        }
    }
}
