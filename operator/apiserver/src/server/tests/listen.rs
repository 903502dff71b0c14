//! The listening server: TLS, the token, the kubeconfig, the directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use super::*;

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("mooring-server-{name}-{}", std::process::id()));
    let _absent = fs::remove_dir_all(&path);
    path
}

fn config(directory: &Path) -> Config {
    Config {
        listen: vec!["127.0.0.1:0".parse().expect("an address")],
        kubeconfig: Some(directory.join("kubeconfig")),
        ..Config::new(Storage::Directory(directory.to_owned()))
    }
}

/// Asks over TLS, trusting only the authority of the kubeconfig.
async fn ask(server: &Server, http2: bool, path: &str, token: Option<&str>) -> (u16, String) {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(server.authority_pem.as_bytes());
    roots.add(authority.expect("a certificate")).expect("valid");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![if http2 {
        b"h2".to_vec()
    } else {
        b"http/1.1".to_vec()
    }];
    let stream = tokio::net::TcpStream::connect(server.addresses()[0])
        .await
        .expect("connects");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let stream = TlsConnector::from(Arc::new(tls))
        .connect(name, stream)
        .await
        .expect("the certificate is trusted");
    let mut request = Request::builder().uri(format!("https://127.0.0.1{path}"));
    if !http2 {
        request = Request::builder().uri(path).header("host", "127.0.0.1");
    }
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Full::new(Bytes::new())).expect("a request");
    let io = TokioIo::new(stream);
    let response = if http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .expect("HTTP/2");
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .expect("HTTP/1.1");
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    let response = response.expect("an answer");
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body");
    (
        code,
        String::from_utf8_lossy(&bytes.to_bytes()).into_owned(),
    )
}

#[tokio::test]
async fn anonymous_callers_see_health_and_version_only() {
    let directory = directory("anonymous");
    let server = Server::start(config(&directory)).await.expect("starts");
    let token = server.token.clone();
    for http2 in [false, true] {
        for open in ["/livez", "/readyz", "/healthz", "/version"] {
            assert_eq!(ask(&server, http2, open, None).await.0, 200, "{open}");
        }
        for closed in [
            "/api",
            "/apis",
            "/openapi/v2",
            "/api/v1/namespaces",
            "/nowhere",
        ] {
            let (code, body) = ask(&server, http2, closed, None).await;
            assert_eq!(code, 401, "{closed}");
            assert!(body.contains("Unauthorized"));
            assert_eq!(ask(&server, http2, closed, Some("wrong")).await.0, 401);
        }
        let (code, body) = ask(&server, http2, "/api/v1/namespaces", Some(&token)).await;
        assert_eq!(code, 200);
        assert!(body.contains("kube-system"));
    }
    server.shutdown().await;
    fs::remove_dir_all(&directory).expect("clean");
}

#[tokio::test]
async fn files_are_private_and_the_token_is_kept_only_in_the_kubeconfig() {
    let directory = directory("files");
    let server = Server::start(config(&directory)).await.expect("starts");
    let token = server.token.clone();
    let second = Server::start(config(&directory)).await;
    let error = second.err().expect("in use").to_string();
    assert!(error.contains("in use by another process"), "{error}");
    server.shutdown().await;
    for name in [
        "kubeconfig",
        "objects.redb",
        "keys/at-rest",
        "keys/ca.key",
        "keys/admin-token.sha256",
        "audit/audit.log",
    ] {
        let file = directory.join(name);
        let mode = fs::metadata(&file).expect(name).permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
        let holds = fs::read(&file)
            .expect(name)
            .windows(token.len())
            .any(|part| part == token.as_bytes());
        assert_eq!(holds, name == "kubeconfig", "{name}");
    }
    let server = Server::start(config(&directory))
        .await
        .expect("starts again");
    assert_eq!(server.token, token, "a kubeconfig goes on working");
    assert_eq!(ask(&server, true, "/api", Some(&token)).await.0, 200);
    server.shutdown().await;
    fs::remove_file(directory.join("kubeconfig")).expect("there");
    let server = Server::start(config(&directory))
        .await
        .expect("starts again");
    assert_ne!(server.token, token, "a lost kubeconfig is worth nothing");
    assert_eq!(ask(&server, true, "/api", Some(&token)).await.0, 401);
    server.shutdown().await;
    fs::remove_dir_all(&directory).expect("clean");
}

#[tokio::test]
async fn an_address_that_is_taken_is_told() {
    let directory = directory("taken");
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bound");
    let mut config = config(&directory);
    config.listen = vec![taken.local_addr().expect("an address")];
    let error = Server::start(config)
        .await
        .err()
        .expect("taken")
        .to_string();
    assert!(error.starts_with("cannot listen on 127.0.0.1:"), "{error}");
    fs::remove_dir_all(&directory).expect("clean");
}
