//! Owns the certificates: an own authority that clients pin, and short-lived server certificates under it.
//!
//! It must not know sockets or HTTP. Invariants: the authority's key is on disk with mode 0600 and nowhere else; the
//! server's key never leaves memory; a server certificate is replaced long before it ends, without a restart.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::civil::Date;
use jiff::{Span, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;

use crate::store::crypt::write_private;

/// Days that a server certificate is valid.
const SERVER_DAYS: i64 = 90;

/// Age in days at which a running server makes itself a new one.
pub const RENEW_AFTER_DAYS: i64 = 30;

/// Years that the authority is valid: it is replaced with the data directory.
const AUTHORITY_YEARS: i64 = 30;

/// Clocks of clients may be behind by up to this many days.
const SKEW_DAYS: i64 = 1;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A key file cannot be read or written.
    #[error("certificate files: {0}")]
    Io(#[from] io::Error),
    /// Making or reading a certificate failed.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refuses the key.
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
    /// The clock shows a time that no certificate can have.
    #[error("the clock is out of range: {0}")]
    Clock(#[from] jiff::Error),
}

/// The authority and the certificate that is served at present.
pub struct Certificates {
    authority_pem: String,
    issuer: Issuer<'static, KeyPair>,
    names: Vec<String>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads the authority out of `keys`, or makes one there; without a directory it lives in memory alone. Then issues
    /// a server certificate for the addresses and names.
    pub fn open(
        keys: Option<&Path>,
        listen: &[SocketAddr],
        extra_names: &[String],
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        let (authority_pem, issuer) = authority(keys, now)?;
        let names = names(listen, extra_names);
        let current = RwLock::new(issue(&issuer, &names, now)?);
        Ok(Self {
            authority_pem,
            issuer,
            names,
            current,
        })
    }

    /// The authority's certificate, for kubeconfigs.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// Puts a new server certificate in the place of the present one.
    pub fn renew(&self, now: Timestamp) -> Result<(), TlsError> {
        let fresh = issue(&self.issuer, &self.names, now)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// The TLS configuration of the listeners: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

fn authority(
    keys: Option<&Path>,
    now: Timestamp,
) -> Result<(String, Issuer<'static, KeyPair>), TlsError> {
    let paths = keys.map(|keys| (keys.join("ca.crt"), keys.join("ca.key")));
    if let Some((certificate, key)) = &paths
        && certificate.exists()
        && key.exists()
    {
        let pem = fs::read_to_string(certificate)?;
        let key = KeyPair::from_pem(&fs::read_to_string(key)?)?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key)?;
        return Ok((pem, issuer));
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = named("mooring-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    valid(&mut params, now, Span::new().years(AUTHORITY_YEARS))?;
    let pem = params.self_signed(&key)?.pem();
    if let Some((certificate_path, key_path)) = &paths {
        // The key first: a certificate without its key would be taken for an authority.
        write_private(key_path, key.serialize_pem().as_bytes())?;
        write_private(certificate_path, pem.as_bytes())?;
    }
    Ok((pem, Issuer::new(params, key)))
}

fn issue(
    issuer: &Issuer<'static, KeyPair>,
    names: &[String],
    now: Timestamp,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = named("mooring");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, now, Span::new().days(SERVER_DAYS))?;
    let certificate = params.signed_by(&key, issuer)?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signing = aws_lc_rs::sign::any_supported_type(&der)?;
    Ok(Arc::new(CertifiedKey::new(
        vec![certificate.der().clone()],
        signing,
    )))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn valid(params: &mut CertificateParams, now: Timestamp, length: Span) -> Result<(), TlsError> {
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let from = today.checked_sub(Span::new().days(SKEW_DAYS))?;
    let until = today.checked_add(length)?;
    let month = |date: Date| date.month().unsigned_abs();
    let day = |date: Date| date.day().unsigned_abs();
    params.not_before = rcgen::date_time_ymd(from.year().into(), month(from), day(from));
    params.not_after = rcgen::date_time_ymd(until.year().into(), month(until), day(until));
    Ok(())
}

/// Every name that a client may use: loopback always, the addresses listened on, and what the caller adds.
fn names(listen: &[SocketAddr], extra: &[String]) -> Vec<String> {
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"]
        .into_iter()
        .map(str::to_owned)
        .collect();
    let addresses = listen.iter().map(SocketAddr::ip);
    names.extend(
        addresses
            .filter(|address| !IpAddr::is_unspecified(address))
            .map(|address| address.to_string()),
    );
    names.extend(extra.iter().cloned());
    names.into_iter().collect()
}
