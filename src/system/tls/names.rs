//! The names in a certificate by which a client may be known.
//!
//! In: a certificate that was found trusted, which of its fields counts. Out: the names, byte for byte, with a NUL that may
//! be in one.

use super::UserField;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Names of users in this field of a certificate, in their order.
pub fn names_of_user(certificate: &CertificateDer<'_>, field: UserField) -> Vec<Vec<u8>> {
    if field == UserField::Off {
        return Vec::new();
    }
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    match field {
        UserField::Off => Vec::new(),
        UserField::CommonName => {
            // The last one is the most specific.
            let common = parsed.subject().iter_common_name().last();
            let name = common.and_then(|it| it.as_str().ok());
            name.into_iter().map(|it| it.as_bytes().to_vec()).collect()
        }
        UserField::Uri => {
            let extension = parsed.subject_alternative_name().ok().flatten();
            let names = extension.map_or(&[][..], |it| &it.value.general_names);
            let uris = names.iter().filter_map(|name| match name {
                GeneralName::URI(uri) => Some(uri.as_bytes().to_vec()),
                _ => None,
            });
            uris.collect()
        }
    }
}
