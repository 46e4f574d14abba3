//! The look-up against a name server that a test plays.

use simple_dns::{ResourceRecord, rdata};
use tokio::net::TcpListener;

use super::*;

const POD: &str = "10-0-0-7.tools.team-a.svc.cluster.local";
const SERVICE: &str = "_http._tcp.tools.team-a.svc.cluster.local";

fn record(name: &'static str, rdata: RData<'static>) -> ResourceRecord<'static> {
    ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, 5, rdata)
}

/// Answers as CoreDNS does for one ready pod; `glue`: sends its address along.
fn answer(query: &Packet<'_>, glue: bool) -> Vec<u8> {
    let mut reply = Packet::new_reply(query.id());
    let question = &query.questions[0];
    let a = || record(POD, RData::A(rdata::A { address: u32::from(Ipv4Addr::new(10, 0, 0, 7)) }));
    match (key(&question.qname).as_str(), question.qtype) {
        (SERVICE, QTYPE::TYPE(TYPE::SRV)) => {
            let target = Name::new_unchecked(POD);
            let srv = rdata::SRV { priority: 0, weight: 100, port: 8080, target };
            reply.answers.push(record(SERVICE, RData::SRV(srv)));
            if glue {
                reply.additional_records.push(a());
            }
        }
        (POD, QTYPE::TYPE(TYPE::A)) => reply.answers.push(a()),
        (POD, _) => {}
        _ => *reply.rcode_mut() = RCODE::NameError,
    }
    reply.build_bytes_vec().unwrap()
}

async fn name_server(glue: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; usize::from(length)];
                stream.read_exact(&mut query).await.unwrap();
                let reply = answer(&Packet::parse(&query).unwrap(), glue);
                stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
                stream.write_all(&reply).await.unwrap();
            }
        }
    });
    port
}

fn resolv_conf(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("gatehouse-resolv-{name}-{}", std::process::id()));
    let text = "search team-a.svc.cluster.local svc.cluster.local cluster.local\nnameserver 127.0.0.1\noptions ndots:5\n";
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn pods_are_found_through_the_search_list() {
    for glue in [true, false] {
        let dns = Dns::new(resolv_conf(&format!("search-{glue}")), name_server(glue).await);
        let pods = dns.pods("_http._tcp.tools.team-a.svc").await.unwrap();
        assert_eq!(pods, [SocketAddr::from(([10, 0, 0, 7], 8080))]);
        assert_eq!(dns.pods("_http._tcp.gone.team-a.svc").await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_silent_or_missing_name_server_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let dns = Dns::new(resolv_conf("silent"), port);
    assert!(dns.pods("_http._tcp.tools.team-a.svc").await.unwrap_err().contains("127.0.0.1"));
    assert!(Dns::new("/nonexistent", 53).pods("x").await.is_err());
}

#[test]
fn garbage_is_no_answer() {
    assert!(read(b"", 1).is_err());
    assert!(read(&[0xff; 40], 1).is_err());
    let question = query(1, SERVICE, TYPE::SRV).unwrap();
    assert!(read(&question, 1).is_err());
}
