//! Cipher suites and groups by the names that OpenSSL gives them.
//!
//! In: the text of `tls-ciphers`, `tls-ciphersuites` or `tls-groups`, and what rustls has. Out: what the text chooses of it, in
//! its order; none where it chooses nothing. As OpenSSL does, a list of ciphers passes over words that it does not know:
//! what is written for OpenSSL names many suites that rustls leaves out (those without forward secrecy or with CBC).
//!
//! Mirrors `SSL_CTX_set_cipher_list`, `SSL_CTX_set_ciphersuites` and `SSL_CTX_set1_groups_list`.

use rustls::SupportedCipherSuite as Suite;
use rustls::crypto::SupportedKxGroup;
use rustls::{CipherSuite, NamedGroup};

/// A suite of TLS 1.2: OpenSSL's name, and the words that choose it among others.
const TLS12: &[(CipherSuite, &str, &[&str])] = &[
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        &["ECDSA", "AECDSA", "AES256", "AES", "AESGCM", "SHA384"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384",
        &["ARSA", "AES256", "AES", "AESGCM", "SHA384"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        &["ECDSA", "AECDSA", "CHACHA20"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305",
        &["ARSA", "CHACHA20"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        &["ECDSA", "AECDSA", "AES128", "AES", "AESGCM", "SHA256"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256",
        &["ARSA", "AES128", "AES", "AESGCM", "SHA256"],
    ),
];

/// Words that choose each of them. (`COMPLEMENTOFDEFAULT` and the like choose none.)
const ALL_OF_TLS12: &[&str] = &[
    "ALL", "DEFAULT", "HIGH", "ECDHE", "EECDH", "KECDHE", "KEECDH", "ECDH", "TLSV1.2", "FIPS",
];

/// A suite of TLS 1.3. OpenSSL has two more, which nobody uses without being asked to.
const TLS13: &[(&str, Option<CipherSuite>)] = &[
    (
        "TLS_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS13_AES_256_GCM_SHA384),
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS13_AES_128_GCM_SHA256),
    ),
    ("TLS_AES_128_CCM_SHA256", None),
    ("TLS_AES_128_CCM_8_SHA256", None),
];

/// Groups in which keys are agreed upon, each with its names in OpenSSL, in capitals. Without a number: there is none here.
const GROUPS: &[(&[&str], Option<NamedGroup>)] = &[
    (&["X25519"], Some(NamedGroup::X25519)),
    (
        &["P-256", "PRIME256V1", "SECP256R1"],
        Some(NamedGroup::secp256r1),
    ),
    (&["P-384", "SECP384R1"], Some(NamedGroup::secp384r1)),
    (&["P-521", "SECP521R1", "X448"], None),
    (&["FFDHE2048", "FFDHE3072", "FFDHE4096"], None),
    (&["FFDHE6144", "FFDHE8192"], None),
    (&["X25519MLKEM768", "SECP256R1MLKEM768"], None),
    (&["SECP384R1MLKEM1024"], None),
    (&["MLKEM512", "MLKEM768", "MLKEM1024"], None),
    (&["BRAINPOOLP256R1TLS13", "BRAINPOOLP384R1TLS13"], None),
    (&["BRAINPOOLP512R1TLS13"], None),
];

type Group = &'static dyn SupportedKxGroup;

/// The groups that a list names; empty: all. Those that only OpenSSL has are passed over; a name that it does not know either
/// is an error, unless `?` before it says otherwise, as is a list of which nothing is left. (`*` asks a client to begin with
/// that group; here it begins with the first.)
pub(super) fn groups(list: &str, known: &[Group]) -> Option<Vec<Group>> {
    if list.is_empty() {
        return Some(known.to_vec());
    }
    let mut chosen: Vec<Group> = Vec::new();
    for word in list.split([':', '/']) {
        let name = word.trim().trim_start_matches(['?', '*']);
        let name = name.to_ascii_uppercase();
        let row = GROUPS
            .iter()
            .find(|(names, _)| names.contains(&name.as_str()));
        let named = match row {
            Some((_, named)) => *named,
            None if word.contains('?') => None,
            None => return None,
        };
        let group = known.iter().find(|it| Some(it.name()) == named);
        if let Some(group) = group
            && chosen.iter().all(|it| it.name() != group.name())
        {
            chosen.push(*group);
        }
    }
    (!chosen.is_empty()).then_some(chosen)
}

fn suite(wanted: CipherSuite, known: &[Suite]) -> Option<Suite> {
    known.iter().find(|it| it.suite() == wanted).copied()
}

/// The suites of TLS 1.3 that a list names; empty: all. A name that OpenSSL does not know is an error, as is a list of
/// which nothing is left.
pub(super) fn tls13_suites(list: &str, known: &[Suite]) -> Option<Vec<Suite>> {
    if list.is_empty() {
        let all = TLS13.iter().filter_map(|(_, it)| *it);
        return Some(all.filter_map(|it| suite(it, known)).collect());
    }
    let mut chosen = Vec::new();
    for word in list.split(':').filter(|word| !word.is_empty()) {
        let (_, named) = TLS13.iter().find(|(name, _)| *name == word.trim())?;
        chosen.extend(named.and_then(|it| suite(it, known)));
    }
    (!chosen.is_empty()).then_some(chosen)
}

/// The suites of TLS 1.2 that a list of OpenSSL's words chooses; empty: all.
pub(super) fn tls12_suites(list: &str, known: &[Suite]) -> Option<Vec<Suite>> {
    let list = if list.is_empty() { "DEFAULT" } else { list };
    let mut chosen: Vec<usize> = Vec::new();
    let mut banned: Vec<usize> = Vec::new();
    for word in list
        .split([':', ',', ' ', ';'])
        .filter(|word| !word.is_empty())
    {
        let (operator, name) = match word.as_bytes().first() {
            // Commands on strength: ours are of one strength, and beyond each level of security that OpenSSL has.
            Some(b'@') => continue,
            Some(operator @ (b'!' | b'-' | b'+')) => (*operator, word.get(1..).unwrap_or_default()),
            _ => (b' ', word),
        };
        let matching = matching(name);
        match operator {
            b' ' => {
                let is_new = |at: &usize| !banned.contains(at) && !chosen.contains(at);
                let more: Vec<usize> = matching.into_iter().filter(is_new).collect();
                chosen.extend(more);
            }
            // To the end of the list.
            b'+' => {
                let (moved, kept) = chosen.into_iter().partition(|at| matching.contains(at));
                chosen = kept;
                chosen.extend::<Vec<usize>>(moved);
            }
            _ => {
                chosen.retain(|at| !matching.contains(at));
                if operator == b'!' {
                    banned.extend(matching);
                }
            }
        }
    }
    let suites = chosen
        .into_iter()
        .filter_map(|at| suite(TLS12[at].0, known));
    let suites: Vec<Suite> = suites.collect();
    (!suites.is_empty()).then_some(suites)
}

/// Places in [`TLS12`] that a word means; several words with `+` between them mean what each of them does.
fn matching(words: &str) -> Vec<usize> {
    let words: Vec<String> = words.split('+').map(str::to_ascii_uppercase).collect();
    let fits = |(_, name, tags): &(CipherSuite, &str, &[&str])| {
        words.iter().all(|word| {
            *name == word.as_str()
                || tags.contains(&word.as_str())
                || ALL_OF_TLS12.contains(&word.as_str())
        })
    };
    let places = TLS12.iter().enumerate();
    places
        .filter(|(_, row)| fits(row))
        .map(|(at, _)| at)
        .collect()
}
