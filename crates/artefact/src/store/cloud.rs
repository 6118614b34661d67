//! Object stores behind HTTP. The client is made here: it trusts the authorities of the system and those that are given beside
//! them, encrypts with `ring` as the rest of the operator does, and follows no redirect, which could lead signed requests to
//! another server. All waiting has an end: ten seconds to connect, a minute without a byte, four retries.

use std::{sync::Arc, time::Duration};

use object_store::{
    ClientConfigKey, ClientOptions, ObjectStore, RetryConfig,
    aws::AmazonS3Builder,
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    client::{HttpClient, HttpConnector},
    gcp::GoogleCloudStorageBuilder,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{StoreAccess, credentials::Credentials, url::Scheme, url::StoreUrl};
use crate::error::StoreError;

const CONNECT: Duration = Duration::from_secs(10);
/// How long nothing may come. It bounds the upload of one part too, of at most 32 MiB.
const IDLE: Duration = Duration::from_mins(1);
const RETRIES: usize = 4;
const RETRY_FOR: Duration = Duration::from_mins(1);

/// The store of a url that is none of a folder.
pub(super) fn open(url: &StoreUrl, access: &StoreAccess) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let credentials = Credentials::read(url.scheme(), &access.credentials)?;
    let endpoint = access.endpoint.as_deref().map(check_endpoint).transpose()?;
    let connector = Connector { tls: Arc::new(tls(access.ca_pem.as_deref())?) };
    // Without TLS only where the endpoint's url says so itself.
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let options = ClientOptions::new().with_allow_http(plain).with_connect_timeout(CONNECT);
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_FOR, ..RetryConfig::default() };
    // Given credentials stand alone; where there are none, the environment of the pod has them, or its cloud.
    let ambient = access.credentials.is_empty();
    match url.scheme() {
        Scheme::S3 => {
            let named = credentials.get("accessKeyId").is_some();
            let mut builder = if named { AmazonS3Builder::new() } else { AmazonS3Builder::from_env() };
            if let (Some(id), Some(key)) = (credentials.get("accessKeyId"), credentials.get("secretAccessKey")) {
                builder = builder.with_access_key_id(id).with_secret_access_key(key);
            }
            if let Some(token) = credentials.get("sessionToken") {
                builder = builder.with_token(token);
            }
            if let Some(region) = credentials.get("region") {
                builder = builder.with_region(region);
            }
            if let Some(endpoint) = endpoint {
                // The name of the bucket in the path: servers of one's own seldom have a certificate for each bucket.
                builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
            }
            builder
                .with_bucket_name(url.bucket())
                // One request for each object says whether that one may be deleted, and all servers know it.
                .with_disable_bulk_delete(true)
                .with_client_options(options)
                .with_retry(retry)
                .with_http_connector(connector)
                .build()
                .map(|store| Arc::new(store) as Arc<dyn ObjectStore>)
        }
        Scheme::Gs => {
            let builder =
                if ambient { GoogleCloudStorageBuilder::from_env() } else { GoogleCloudStorageBuilder::new() };
            let mut builder = builder.with_bucket_name(url.bucket());
            if let Some(key) = credentials.get("serviceAccountKey") {
                builder = builder.with_service_account_key(key);
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_base_url(endpoint);
            }
            builder
                .with_client_options(options)
                .with_retry(retry)
                .with_http_connector(connector)
                .build()
                .map(|store| Arc::new(store) as Arc<dyn ObjectStore>)
        }
        Scheme::Az => {
            let named = credentials.get("accountKey").or(credentials.get("sasToken")).is_some();
            let mut builder = if named { MicrosoftAzureBuilder::new() } else { MicrosoftAzureBuilder::from_env() };
            if let Some(name) = credentials.get("accountName") {
                builder = builder.with_account(name);
            }
            if let Some(key) = credentials.get("accountKey") {
                builder = builder.with_access_key(key);
            }
            if let Some(token) = credentials.get("sasToken") {
                builder = builder.with_config(AzureConfigKey::SasKey, token);
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint.to_owned());
            }
            builder
                .with_container_name(url.bucket())
                .with_client_options(options)
                .with_retry(retry)
                .with_http_connector(connector)
                .build()
                .map(|store| Arc::new(store) as Arc<dyn ObjectStore>)
        }
        Scheme::File => return Err(StoreError::Invalid("a folder has no endpoint".to_owned())),
    }
    // The message of a builder may repeat a value that it could not read, so only the kind of the failure is told.
    .map_err(|_| {
        StoreError::Invalid(format!(
            "{url}: these credentials or this endpoint have not the form that the store needs; look at the Secret"
        ))
    })
}

fn check_endpoint(endpoint: &str) -> Result<&str, StoreError> {
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    let fine =
        |rest: &str| !rest.is_empty() && !rest.contains(|c: char| "@?#\\".contains(c) || c.is_control() || c == ' ');
    if rest.is_some_and(fine) {
        return Ok(endpoint.trim_end_matches('/'));
    }
    Err(StoreError::Invalid(
        "the endpoint must be as `https://host` or `https://host:port`, without credentials, `?` and `#`".to_owned(),
    ))
}

fn tls(ca_pem: Option<&[u8]>) -> Result<ClientConfig, StoreError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = ca_pem {
        let bad = || StoreError::Invalid("the CA of the store is no list of certificates in PEM".to_owned());
        let given = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| bad())?;
        if given.is_empty() {
            return Err(bad());
        }
        given.into_iter().try_for_each(|certificate| roots.add(certificate)).map_err(|_| bad())?;
    }
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        .map_err(|error| StoreError::Other(error.to_string()))
}

/// Makes the clients, of which a store may need two: the one that asks the cloud for an identity may speak without TLS, to an
/// address within the machine.
#[derive(Debug)]
struct Connector {
    tls: Arc<ClientConfig>,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(&self.tls))
            .https_only(!plain)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(IDLE)
            .user_agent(concat!("tenant-schema-operator/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| object_store::Error::Generic { store: "HTTP client", source: Box::new(error) })?;
        Ok(HttpClient::new(client))
    }
}
