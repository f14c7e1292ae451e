//! The names in a certificate by which a client may be known.
//!
//! In: a certificate that was found trusted, which of its fields counts. Out: the names, byte for byte, with a NUL that may
//! be in one.
//! A common name that cannot be read is one with a NUL.

use super::UserField;
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A name that is no user's, for there are none with a NUL: one that cannot be read is one that does not fit.
const UNREADABLE: &[u8] = b"\0";

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
            // The first one, as `X509_NAME_get_text_by_NID` finds it.
            let common = parsed.subject().iter_common_name().next();
            let name = common.map(|it| text(it.attr_value()));
            let names = name.into_iter();
            names.map(|it| it.unwrap_or(UNREADABLE.to_vec())).collect()
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

/// A string of any of the kinds that a name may have, in UTF-8, as `ASN1_STRING_to_UTF8` makes it.
fn text(value: &Any<'_>) -> Option<Vec<u8>> {
    let of_char = |it: u32| char::from_u32(it);
    let text: String = match value.tag() {
        Tag::Utf8String => return std::str::from_utf8(value.data).ok().map(|it| it.into()),
        Tag::NumericString
        | Tag::PrintableString
        | Tag::Ia5String
        | Tag::VisibleString
        | Tag::T61String => value.data.iter().copied().map(char::from).collect(),
        Tag::BmpString => {
            let (pairs, rest) = value.data.as_chunks::<2>();
            let units = pairs.iter().map(|it| u32::from(u16::from_be_bytes(*it)));
            let text = units.map(of_char).collect::<Option<String>>();
            text.filter(|_| rest.is_empty())?
        }
        Tag::UniversalString => {
            let (words, rest) = value.data.as_chunks::<4>();
            let text = words.iter().map(|it| of_char(u32::from_be_bytes(*it)));
            let text = text.collect::<Option<String>>();
            text.filter(|_| rest.is_empty())?
        }
        _ => return None,
    };
    Some(text.into_bytes())
}
