//! Which certificates may sign others, for whom, and when.
//!
//! In: certificates that an administrator has named as trusted. Out: whether one is an authority's. That it is trusted does not
//! make it one: webpki takes whatever it is given as an anchor for an authority without end, so what a certificate says of
//! itself is read here.
//!
//! Mirrors `check_ca` and `xku_reject` of OpenSSL's v3_purp.c.

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

/// A chain that is completed has no more certificates below its root.
const LONGEST_CHAIN: usize = 10;

/// What a certificate is shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// A certificate, if it can be understood and nothing is behind it.
pub(super) fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
    rest.is_empty().then_some(parsed)
}

/// Whether a certificate may sign others: it says that it is an authority's, or it is a root from before there were
/// extensions to say so.
pub(super) fn can_sign(certificate: &X509Certificate<'_>) -> bool {
    if certificate.version() == X509Version::V1 {
        // What its own signature is made with does not matter, for it is trusted for its being in the file.
        return is_self_issued(certificate) && certificate.verify_signature(None).is_ok();
    }
    let is_authority = certificate
        .basic_constraints()
        .is_ok_and(|it| it.is_some_and(|it| it.value.ca));
    let may_sign = certificate
        .key_usage()
        .is_ok_and(|it| it.is_none_or(|it| it.value.key_cert_sign()));
    is_understood(certificate) && is_authority && may_sign
}

/// Whether a certificate, or what it signs, may be shown as this.
pub(super) fn fits(certificate: &X509Certificate<'_>, role: Role) -> bool {
    let usage = certificate.extended_key_usage();
    let fits = usage.is_ok_and(|it| {
        it.is_none_or(|it| match role {
            Role::Client => it.value.client_auth,
            Role::Server => it.value.server_auth,
        })
    });
    is_understood(certificate) && fits
}

/// Whether what restricts a certificate can be read: what cannot looks as if it were not there.
fn is_understood(certificate: &X509Certificate<'_>) -> bool {
    let mut extensions = certificate.extensions().iter();
    extensions.all(|it| {
        !matches!(
            it.parsed_extension(),
            ParsedExtension::ParseError { .. } | ParsedExtension::Unparsed
        )
    })
}

/// When a certificate is valid: the first and the last second since 1970.
pub(super) fn validity(certificate: &X509Certificate<'_>) -> (i64, i64) {
    let validity = certificate.validity();
    (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    )
}

/// Whether now is in that time.
pub(super) fn check_time(validity: (i64, i64), now: UnixTime) -> Result<(), CertificateError> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let (first, last) = validity;
    match now {
        now if now < first => Err(CertificateError::NotValidYet),
        now if now > last => Err(CertificateError::Expired),
        _ => Ok(()),
    }
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

/// Whether an authority has signed a certificate itself.
pub(super) fn has_signed(
    authority: &X509Certificate<'_>,
    certificate: &X509Certificate<'_>,
) -> bool {
    let algorithm = &certificate.signature_algorithm.algorithm;
    let is_broken = [OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA].contains(algorithm);
    !is_broken
        && authority.subject().as_raw() == certificate.issuer().as_raw()
        && can_sign(authority)
        && certificate
            .verify_signature(Some(authority.public_key()))
            .is_ok()
}

/// The certificates between one and its root that are among those who are trusted, in the order in which they are sent.
/// The root is not among them: a peer has it, or does not trust it.
pub(super) fn chain_above(
    certificate: &CertificateDer<'_>,
    trusted: &[CertificateDer<'static>],
) -> Vec<CertificateDer<'static>> {
    let Some(mut last) = parsed(certificate) else {
        return Vec::new();
    };
    let trusted: Vec<_> = trusted
        .iter()
        .filter_map(|it| Some((it, parsed(it)?)))
        .collect();
    let mut chain = Vec::new();
    while chain.len() < LONGEST_CHAIN && !is_self_issued(&last) {
        let issuers = trusted.iter().filter(|(_, it)| has_signed(it, &last));
        // A root ends the chain; of those that were renewed the one counts that lasts longest.
        let best = issuers.max_by_key(|(_, it)| (is_self_issued(it), validity(it).1));
        match best {
            Some((der, issuer)) if !is_self_issued(issuer) && !chain.contains(*der) => {
                chain.push((*der).clone());
                last = issuer.clone();
            }
            _ => break,
        }
    }
    chain
}
