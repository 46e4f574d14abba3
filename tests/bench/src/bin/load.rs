//! The load: connections that each send the next call when the last answer is complete, or at a pace.
//! `load ADDRESS PID SECONDS CONNECTIONS TOOL PACE [TOKENS]` prints one line of JSON: what a call cost the process PID.
//! PACE: calls a second over all connections, 0 for as many as can be. TOKENS: a file with a bearer a line, used in turn.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bench::argument;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Before anything is measured: connections, caches, the allocator.
const WARM_UP: Duration = Duration::from_secs(2);
/// Linux counts CPU time in these (`USER_HZ`).
const TICK_MICROS: u64 = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (address, pid): (String, u32) = (argument(1, "an address"), argument(2, "a process id"));
    let (seconds, connections): (u64, usize) = (argument(3, "seconds"), argument(4, "a number"));
    let (tool, pace): (String, u64) = (argument(5, "a tool"), argument(6, "calls a second"));
    let tokens = std::env::args().nth(7).map(|file| std::fs::read_to_string(file).unwrap_or_default());
    let requests: Vec<Vec<u8>> = match &tokens {
        Some(tokens) => tokens.lines().map(|token| request(&address, &tool, Some(token))).collect(),
        None => vec![request(&address, &tool, None)],
    };
    if requests.is_empty() {
        fail("the file of tokens is absent or empty");
    }
    let load = Arc::new(Load { requests, next: AtomicUsize::new(0), pause: pause(pace, connections) });
    let measured = Arc::new(Measured::default());
    for _ in 0..connections {
        tokio::spawn(connection(address.clone(), load.clone(), measured.clone()));
    }
    tokio::time::sleep(WARM_UP).await;
    let before = cpu_micros(pid);
    measured.counts.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    measured.counts.store(false, Ordering::Relaxed);
    report(&measured, cpu_micros(pid) - before, pid, seconds);
}

/// What the connections send.
struct Load {
    requests: Vec<Vec<u8>>,
    next: AtomicUsize,
    /// From one call of a connection to its next.
    pause: Option<Duration>,
}

impl Load {
    fn next(&self) -> &[u8] {
        &self.requests[self.next.fetch_add(1, Ordering::Relaxed) % self.requests.len()]
    }
}

fn pause(pace: u64, connections: usize) -> Option<Duration> {
    let connections = u32::try_from(connections).unwrap_or(u32::MAX);
    (pace > 0).then(|| Duration::from_micros(1_000_000 / pace) * connections)
}

/// What the connections saw.
#[derive(Default)]
struct Measured {
    counts: AtomicBool,
    micros: Mutex<Vec<u64>>,
    bad: Mutex<Option<String>>,
}

fn request(address: &str, tool: &str, token: Option<&str>) -> Vec<u8> {
    let params = serde_json::json!({"name": tool, "arguments": {"text": "a typical small call of a tool"}});
    let body =
        serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let bearer = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\n{bearer}Content-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\n\
         User-Agent: bench\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn connection(address: String, load: Arc<Load>, measured: Arc<Measured>) {
    let fail = |text: String| *measured.bad.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    let Ok(mut stream) = TcpStream::connect(&address).await else { return fail("no connection".to_owned()) };
    // Failing to say so would show in the latencies.
    let _ = stream.set_nodelay(true);
    let mut answer = Vec::with_capacity(64 * 1024);
    let mut pace = load.pause.map(tokio::time::interval);
    loop {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let started = Instant::now();
        answer.clear();
        if stream.write_all(load.next()).await.is_err() {
            return fail("the connection was closed".to_owned());
        }
        while !is_complete(&answer) {
            match stream.read_buf(&mut answer).await {
                Ok(0) | Err(_) => return fail("the connection was closed".to_owned()),
                Ok(_) => {}
            }
        }
        if !answer.starts_with(b"HTTP/1.1 200") {
            return fail(String::from_utf8_lossy(&answer).into_owned());
        }
        if measured.counts.load(Ordering::Relaxed) {
            let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            measured.micros.lock().unwrap_or_else(PoisonError::into_inner).push(micros);
        }
    }
}

/// Whether a whole answer has arrived: by its length, or up to the last chunk.
fn is_complete(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.map_or_else(|| answer.ends_with(b"\r\n0\r\n\r\n"), |length| answer.len() >= head + 4 + length)
}

/// User and system time of a process.
fn cpu_micros(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything, in parentheses: utime and stime are the 12th and 13th field.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum::<u64>() * TICK_MICROS
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn report(measured: &Measured, cpu_micros: u64, pid: u32, seconds: u64) {
    if let Some(bad) = measured.bad.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
        fail(&format!("a call failed: {bad}"));
    }
    let mut micros = measured.micros.lock().unwrap_or_else(PoisonError::into_inner).clone();
    micros.sort_unstable();
    let calls = micros.len();
    if calls == 0 {
        fail("no call was answered");
    }
    let quantile = |percent: usize| micros.get((calls - 1) * percent / 100).copied().unwrap_or(0);
    let nanos = cpu_micros * 1000 / calls as u64;
    let line = serde_json::json!({
        "calls": calls, "calls_per_second": calls as u64 / seconds.max(1),
        "cpu_ns_per_call": nanos, "p50_us": quantile(50), "p99_us": quantile(99),
        "rss_kib": resident_kib(pid),
    });
    println!("{line}");
}

/// Nothing was measured: a figure would be untrue.
fn fail(why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(1)
}
