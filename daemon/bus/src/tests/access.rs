//! Passwords, users, TLS, Unix sockets, clusters.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::server::Server;
use super::{Running, fields, next, number, signal, status, subscribed, tcp};
use crate::{Address, Bus, Channel, Options};

/// Everything works over it.
async fn works(bus: &Running) {
    bus.well().await;
    let mut subscription = bus.subscribe(Channel::GatewayEvents);
    subscribed(&mut subscription).await;
    bus.publish(Channel::GatewayEvents, signal(5)).await.unwrap();
    assert_eq!(number(&next(&mut subscription).await), Some(5));
    let shown = fields(&[("state", "ready")]);
    bus.project(status("atlas"), shown.clone(), Some(std::time::Duration::from_secs(9))).await.unwrap();
    assert_eq!(bus.read(&status("atlas")).await, Ok(Some(shown)));
    assert_eq!(bus.list(&crate::Family::AgentStatus).await.unwrap().keys.len(), 1);
    bus.forget(&status("atlas")).await.unwrap();
}

#[tokio::test]
async fn with_a_password_and_never_without() {
    let Some(server) = Server::start(&["--requirepass", "hidden word"]) else { return };
    let mut options = Options::at(tcp(server.port));
    let told = Running::start(options.clone()).told("refuses the log-in").await;
    assert!(told.contains("OPENCLAW_REDIS_PASSWORD"), "{told}");
    options.password = Some("wrong-one".to_owned().into());
    let wrong = Running::start(options.clone());
    let told = wrong.told("refuses the log-in").await;
    assert!(!told.contains("wrong-one") && !told.contains("hidden"), "{told}");
    let told = wrong.publish(Channel::GatewayEvents, signal(1)).await.unwrap_err();
    assert!(!format!("{told} {told:?}").contains("wrong-one"), "{told}");
    assert!(!format!("{options:?}").contains("wrong-one"));
    options.password = Some("hidden word".to_owned().into());
    works(&Running::start(options)).await;
}

#[tokio::test]
async fn as_a_user_who_may_do_just_what_is_needed() {
    let Some(server) = Server::start(&[]) else { return };
    // What config/openclaw.toml asks an operator to grant.
    let rights = "~agent:* ~circuit:* ~mission:* ~memory:* &* +ping +select +publish +subscribe +multi +exec +del \
                  +hset +hgetall +pexpire +scan";
    let mut user = vec!["ACL", "SETUSER", "claw", "on", ">hidden", "resetkeys", "resetchannels", "-@all"];
    user.extend(rights.split_whitespace());
    assert_eq!(server.tell(&user), "+OK");
    let mut options = Options::at(tcp(server.port));
    (options.user, options.password) = (Some("claw".into()), Some("hidden".to_owned().into()));
    let bus = Running::start(options);
    works(&bus).await;
    assert_eq!(server.tell(&["ACL", "SETUSER", "claw", "-publish"]), "+OK");
    let told = bus.publish(Channel::GatewayEvents, signal(1)).await.unwrap_err();
    assert!(told.to_string().ends_with("grant it with ACL SETUSER"), "{told}");
    // That one right is missing does not take the rest.
    bus.project(status("atlas"), fields(&[("a", "b")]), None).await.unwrap();
}

#[tokio::test]
async fn in_another_database() {
    let Some(server) = Server::start(&[]) else { return };
    let bus = Running::start(Options { database: 3, ..Options::at(tcp(server.port)) });
    works(&bus).await;
    bus.project(status("atlas"), fields(&[("a", "b")]), None).await.unwrap();
    assert!(server.tell(&["INFO", "keyspace"]).contains("db3:keys=1"));
    let told =
        Running::start(Options { database: 99, ..Options::at(tcp(server.port)) }).told("refused").await;
    assert!(told.contains("out of range"), "{told}");
}

#[tokio::test]
async fn over_a_unix_socket() {
    let Some(server) = Server::start(&["--unixsocket", "{dir}/redis.sock"]) else { return };
    let options = Options::at(Address::Unix(server.folder().join("redis.sock")));
    works(&Running::start(options)).await;
    let none = Running::start(Options::at(Address::Unix("/nowhere/redis.sock".into())));
    none.told("Redis at redis+unix:///nowhere/redis.sock is away: No such file").await;
}

/// Writes an authority's certificate, and a server's that it vouches for.
fn certificates(folder: &std::path::Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap();
    let certificate = certificate.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    fs::write(folder.join("ca.pem"), ca_certificate.pem()).unwrap();
    fs::write(folder.join("server.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn within_tls_and_only_to_who_is_vouched_for() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let stranger = tempfile::tempdir().unwrap();
    certificates(stranger.path());
    // Redis 7 as Debian builds it has TLS; its plain port is moved out of the way.
    let args = "--tls-port {port} --port 0 --tls-auth-clients no --tls-cert-file {dir}/server.pem \
                --tls-key-file {dir}/server.key --tls-ca-cert-file {dir}/ca.pem";
    let args: Vec<_> = args.split_whitespace().collect();
    let Some(server) = Server::start_in(folder, &args) else { return };
    for host in ["127.0.0.1", "localhost"] {
        let address = Address::Tcp { host: host.into(), port: server.port, tls: true };
        let mut options = Options::at(address);
        options.ca = Some(server.folder().join("ca.pem"));
        works(&Running::start(options.clone())).await;
        for (ca, why) in [
            (Some(stranger.path().join("ca.pem")), "is not trusted: invalid peer certificate"),
            (None, "is not trusted: invalid peer certificate"),
            (Some(stranger.path().join("none.pem")), "none.pem is no certificate"),
            (Some(stranger.path().join("server.key")), "server.key is no certificate"),
        ] {
            options.ca = ca;
            let told = Running::start(options.clone()).told(why).await;
            assert!(told.ends_with("mend its certificate or [bus] `ca`"), "{told}");
        }
    }
    let told = Running::on(server.port).told("Redis at").await;
    assert!(!told.contains("TLS"), "{told}");
}

#[tokio::test]
async fn a_cluster_is_refused() {
    let Some(server) = Server::start(&["--cluster-enabled", "yes"]) else { return };
    Running::on(server.port).told("is part of a Redis Cluster, which this version does not speak to").await;
}
