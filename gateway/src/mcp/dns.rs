//! SRV look-ups for the pods of a headless Service, which the system's resolver functions do not offer.
//!
//! Questions go over TCP (RFC 7766, which every cluster DNS serves): no truncated answers, and none by a stranger.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use async_trait::async_trait;
use resolv_conf::Config;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE, rdata::RData};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::pods::Directory;

/// For one name server to answer everything.
const LIMIT: Duration = Duration::from_secs(2);
/// More pods than this of one backend are not considered.
const MAX_PODS: usize = 1024;

/// The name servers of the system.
#[derive(Debug)]
pub struct Dns {
    resolv_conf: PathBuf,
    port: u16,
}

impl Dns {
    /// As `/etc/resolv.conf` says, which is read at each look-up.
    pub fn system() -> Self {
        Self::new("/etc/resolv.conf", 53)
    }

    /// As another file says, at another port; for tests.
    pub fn new(resolv_conf: impl Into<PathBuf>, port: u16) -> Self {
        Self { resolv_conf: resolv_conf.into(), port }
    }
}

#[async_trait]
impl Directory for Dns {
    async fn pods(&self, name: &str) -> Result<Vec<SocketAddr>, String> {
        let path = self.resolv_conf.display();
        let text = tokio::fs::read(&self.resolv_conf).await.map_err(|e| format!("{path}: {e}"))?;
        let config = Config::parse(text).map_err(|e| format!("{path}: {e}"))?;
        let mut last = format!("{path} names no name server");
        for server in &config.nameservers {
            let server = SocketAddr::new(server.into(), self.port);
            match tokio::time::timeout(LIMIT, ask(server, &config, name)).await {
                Ok(Ok(pods)) => return Ok(pods),
                Ok(Err(error)) => last = format!("name server {server}: {error}"),
                Err(_) => last = format!("name server {server} is silent"),
            }
        }
        Err(last)
    }
}

/// The names to try, as resolv.conf(5) orders them.
fn candidates(config: &Config, name: &str) -> Vec<String> {
    let searched = config.get_last_search_or_domain().map(|domain| format!("{name}.{domain}"));
    let dots = name.bytes().filter(|b| *b == b'.').count();
    if dots >= usize::try_from(config.ndots).unwrap_or(usize::MAX) {
        std::iter::once(name.to_owned()).chain(searched).collect()
    } else {
        searched.chain(std::iter::once(name.to_owned())).collect()
    }
}

async fn ask(server: SocketAddr, config: &Config, name: &str) -> Result<Vec<SocketAddr>, String> {
    let mut asking = Asking { stream: TcpStream::connect(server).await.map_err(|e| e.to_string())?, id: 0 };
    for name in candidates(config, name) {
        let answer = asking.question(&name, TYPE::SRV).await?;
        if !answer.services.is_empty() {
            return asking.addresses(answer).await;
        }
    }
    Ok(Vec::new())
}

/// What an answer says that concerns us.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    services: Vec<(String, u16)>,
    addresses: HashMap<String, Vec<IpAddr>>,
}

struct Asking {
    stream: TcpStream,
    id: u16,
}

impl Asking {
    /// The addresses of the targets: most servers send them along, the others are asked.
    async fn addresses(&mut self, mut answer: Answer) -> Result<Vec<SocketAddr>, String> {
        let mut pods = Vec::new();
        for (target, port) in std::mem::take(&mut answer.services).into_iter().take(MAX_PODS) {
            if !answer.addresses.contains_key(&target) {
                for kind in [TYPE::A, TYPE::AAAA] {
                    answer.addresses.extend(self.question(&target, kind).await?.addresses);
                }
            }
            let found = answer.addresses.get(&target).into_iter().flatten();
            pods.extend(found.map(|ip| SocketAddr::new(*ip, port)));
        }
        Ok(pods)
    }

    async fn question(&mut self, name: &str, kind: TYPE) -> Result<Answer, String> {
        self.id = self.id.wrapping_add(1);
        let query = query(self.id, name, kind)?;
        let length = u16::try_from(query.len()).map_err(|e| e.to_string())?;
        let io = |e: std::io::Error| e.to_string();
        self.stream.write_all(&[&length.to_be_bytes(), &query[..]].concat()).await.map_err(io)?;
        let mut answer = vec![0; usize::from(self.stream.read_u16().await.map_err(io)?)];
        self.stream.read_exact(&mut answer).await.map_err(io)?;
        read(&answer, self.id)
    }
}

fn query(id: u16, name: &str, kind: TYPE) -> Result<Vec<u8>, String> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).map_err(|e| format!("\"{name}\": {e}"))?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind), CLASS::IN.into(), false));
    packet.build_bytes_vec().map_err(|e| e.to_string())
}

fn read(bytes: &[u8], id: u16) -> Result<Answer, String> {
    let packet = Packet::parse(bytes).map_err(|e| e.to_string())?;
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) {
        return Err("not an answer to the question".to_owned());
    }
    let mut answer = Answer::default();
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Ok(answer),
        code => return Err(format!("{code:?}")),
    }
    for record in packet.answers.iter().chain(&packet.additional_records) {
        let mut address = |ip: IpAddr| answer.addresses.entry(key(&record.name)).or_default().push(ip);
        match &record.rdata {
            RData::SRV(srv) => answer.services.push((key(&srv.target), srv.port)),
            RData::A(a) => address(Ipv4Addr::from(a.address).into()),
            RData::AAAA(a) => address(Ipv6Addr::from(a.address).into()),
            _ => {}
        }
    }
    Ok(answer)
}

/// Names are compared without case.
fn key(name: &Name<'_>) -> String {
    name.to_string().to_ascii_lowercase()
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
