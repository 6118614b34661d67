//! Certificates: an authority of each cluster's own, server certificates for loopback, and client
//! certificates for any user and groups. All of them are X.509 version 3, because rustls refuses
//! older ones.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use crate::error::{Error, FileContext};
use crate::paths::write_private;

/// A certificate and its key, both as PEM.
#[derive(Debug, Clone)]
pub struct IssuedCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS#8.
    pub key: String,
}

/// What a server certificate is to say.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    /// The names and addresses it is valid for.
    pub names: Vec<String>,
    /// Whether its time is over.
    pub expired: bool,
}

impl Default for ServerCertificate {
    fn default() -> Self {
        Self { names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()], expired: false }
    }
}

/// An authority that signs the certificates of one cluster.
#[derive(Debug)]
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl CertificateAuthority {
    /// Makes a new one.
    pub fn new(name: &str) -> Result<Self, Error> {
        let failed = certificate_error(name);
        let mut params = CertificateParams::new(Vec::new()).map_err(&failed)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, false);
        let key = KeyPair::generate().map_err(&failed)?;
        let certificate = params.self_signed(&key).map_err(&failed)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// The authority's own certificate as PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for a server.
    pub fn server(&self, wanted: &ServerCertificate) -> Result<IssuedCertificate, Error> {
        let subject = wanted.names.join(", ");
        let mut params = CertificateParams::new(wanted.names.clone()).map_err(certificate_error(&subject))?;
        let name = wanted.names.first().map_or("localhost", String::as_str);
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_validity(&mut params, wanted.expired);
        self.issue(params, &subject)
    }

    /// A certificate for a client of the control plane: a user in at most two groups, which is what
    /// the certificate library can spell.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<IssuedCertificate, Error> {
        if groups.len() > 2 {
            return Err(Error::Option {
                option: "groups",
                value: groups.join(", "),
                remedy: "give two at most, or bind the role to the user".to_owned(),
            });
        }
        let mut params = CertificateParams::new(Vec::new()).map_err(certificate_error(user))?;
        params.distinguished_name.push(DnType::CommonName, user);
        // The library keeps one value per type; the same type spelled as its number is another.
        let organization = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
        for (kind, group) in organization.into_iter().zip(groups) {
            params.distinguished_name.push(kind, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        set_validity(&mut params, false);
        self.issue(params, user)
    }

    fn issue(&self, mut params: CertificateParams, subject: &str) -> Result<IssuedCertificate, Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(certificate_error(subject))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(certificate_error(subject))?;
        Ok(IssuedCertificate { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Writes `ca.crt` and `ca.key` into a directory.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), Error> {
        let file = dir.join("ca.crt");
        fs::write(&file, &self.certificate).file("write", &file)?;
        write_private(&dir.join("ca.key"), &self.issuer.key().serialize_pem(), None)
    }

    /// Reads what [`save`](Self::save) wrote.
    pub(crate) fn load(dir: &Path, name: &str) -> Result<Self, Error> {
        let read = |file: &str| {
            let path = dir.join(file);
            fs::read_to_string(&path).file("read", &path)
        };
        let failed = certificate_error(name);
        let certificate = read("ca.crt")?;
        let key = KeyPair::from_pem(&read("ca.key")?).map_err(&failed)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(&failed)?;
        params.distinguished_name.push(DnType::CommonName, name);
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }
}

/// A key for signing service account tokens and its public half for checking them, as PEM.
pub(crate) fn signing_key() -> Result<(String, String), Error> {
    KeyPair::generate()
        .map(|key| (key.serialize_pem(), key.public_key_pem()))
        .map_err(certificate_error("service account tokens"))
}

/// A kubeconfig that stands alone: everything it needs is in it.
pub(crate) fn kubeconfig(url: &str, ca: &str, client: &IssuedCertificate) -> String {
    let [ca, certificate, key] = [ca, &client.certificate, &client.key].map(|pem| STANDARD.encode(pem));
    format!(
        "apiVersion: v1
kind: Config
current-context: devcluster
contexts:
- name: devcluster
  context:
    cluster: devcluster
    user: devcluster
clusters:
- name: devcluster
  cluster:
    server: {url}
    certificate-authority-data: {ca}
users:
- name: devcluster
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"
    )
}

/// Fixed dates need no clock; a cluster lives for minutes and the authority with it.
fn set_validity(params: &mut CertificateParams, expired: bool) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = if expired { date_time_ymd(2021, 1, 1) } else { date_time_ymd(2120, 1, 1) };
}

fn certificate_error(subject: &str) -> impl Fn(rcgen::Error) -> Error {
    let subject = subject.to_owned();
    move |source| Error::Certificate { subject: subject.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_survives_saving() {
        let dir = tempfile::tempdir().unwrap();
        let made = CertificateAuthority::new("test").unwrap();
        made.save(dir.path()).unwrap();
        let loaded = CertificateAuthority::load(dir.path(), "test").unwrap();
        assert_eq!(loaded.certificate(), made.certificate());
        loaded.server(&ServerCertificate::default()).unwrap();
    }

    #[test]
    fn three_groups_are_refused_with_a_way_out() {
        let authority = CertificateAuthority::new("test").unwrap();
        authority.client("ann", &["a", "b"]).unwrap();
        let error = authority.client("ann", &["a", "b", "c"]).unwrap_err();
        assert!(error.to_string().contains("two at most"), "{error}");
    }

    #[test]
    fn a_kubeconfig_holds_what_it_needs() {
        let client = IssuedCertificate { certificate: "C".to_owned(), key: "K".to_owned() };
        let text = kubeconfig("https://127.0.0.1:1", "A", &client);
        assert!(text.contains("certificate-authority-data: QQ==\n"));
        assert!(text.contains("server: https://127.0.0.1:1\n"));
    }
}
