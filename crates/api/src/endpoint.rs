//! Where applications find the database of their tenants, if not where the operator finds it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    connection::{CaSecretRef, TlsMode},
    schema,
    tenant_status::{Place, ReadPlace},
};

/// Where applications connect to, such as a pooler.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientEndpoint {
    /// The name or address. The operator looks the name up (see `nameLookup`), and does not connect to it.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::HOST))]
    pub host: String,

    /// The port.
    ///
    /// Default: the port of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,

    /// How much applications are to ask of TLS; what each mode means is said at `connection.tls.mode`.
    ///
    /// Default: as the operator's connection has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl_mode: Option<TlsMode>,

    /// The authority of the certificate that applications meet there, which their Secrets have as `ca.crt`.
    ///
    /// Default: the authority of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CaSecretRef>,

    /// Whether the operator looks the name up before tenants' Secrets lead there.
    ///
    /// Default: `Required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_lookup: Option<NameLookup>,
}

/// Whether a name that tenants' Secrets lead to has to have an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum NameLookup {
    /// No Secret is written with a name of which the operator finds no address. An address, and a name without a dot, which is
    /// another one in each namespace, are written as they are.
    Required,
    /// The name is written as it is: only applications can look it up.
    Skip,
}

impl ClientEndpoint {
    /// Where applications find a database that the operator finds there.
    #[must_use]
    pub fn place(&self, own: &Place) -> Place {
        Place { host: self.host.clone(), port: self.port.unwrap_or(own.port), ..own.clone() }
    }
}

/// Where applications may read from, such as a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadEndpoint {
    /// The name or address. The operator looks the name up (see `nameLookup`), and does not connect to it.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::HOST))]
    pub host: String,

    /// The port.
    ///
    /// Default: the port of `clientEndpoint`, and without it that of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,

    /// Whether the operator looks the name up before tenants' Secrets lead there.
    ///
    /// Default: `Required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_lookup: Option<NameLookup>,
}

impl ReadEndpoint {
    /// Where applications may read; without a port of its own it is `port`.
    #[must_use]
    pub fn place(&self, port: i32) -> ReadPlace {
        ReadPlace { host: self.host.clone(), port: self.port.unwrap_or(port) }
    }
}
