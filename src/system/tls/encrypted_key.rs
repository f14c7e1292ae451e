//! Private keys under a passphrase, in the two forms in which OpenSSL writes them.
//!
//! In: the bytes of a PEM file's part, the passphrase. Out: the key's bytes, or why not. A wrong passphrase nearly always
//! shows by the padding, and else by what comes out being no key.

use super::material::Section;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use md5::{Digest, Md5};
use pkcs8::EncryptedPrivateKeyInfoRef;
use zeroize::Zeroizing;

const WRONG: &str = "bad decrypt (wrong passphrase?)";

/// PKCS #8, where the algorithm and its parameters stand before the key.
pub(super) fn of_pkcs8(bytes: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let info = EncryptedPrivateKeyInfoRef::try_from(bytes)
        .map_err(|error| format!("its encryption is not understood: {error}"))?;
    let key = info.decrypt(passphrase).map_err(|_| WRONG)?;
    Ok(Zeroizing::new(key.as_bytes().to_vec()))
}

/// The form before it: headers of the PEM part name a cipher and its initial vector. A key without such headers is as it
/// stands.
pub(super) fn of_traditional(
    section: &Section,
    passphrase: Option<&[u8]>,
) -> Result<Zeroizing<Vec<u8>>, String> {
    let header = |name: &str| {
        let mut headers = section.headers.iter();
        headers.find(|it| it.0.eq_ignore_ascii_case(name))
    };
    if !header("Proc-Type").is_some_and(|(_, value)| value.ends_with("ENCRYPTED")) {
        return Ok(section.bytes.clone());
    }
    let passphrase = passphrase.ok_or("it needs a passphrase")?;
    let (_, info) = header("DEK-Info").ok_or("DEK-Info is missing")?;
    let (cipher, vector) = info.split_once(',').ok_or("DEK-Info is not understood")?;
    let vector: [u8; 16] = from_hex(vector.trim()).ok_or("DEK-Info is not understood")?;
    let sealed = section.bytes.as_slice();
    // The first half of the vector salts the key.
    let salt = &vector[..8];
    match cipher.trim().to_ascii_uppercase().as_str() {
        "AES-128-CBC" => {
            let key = derived::<16>(passphrase, salt);
            cbc::Decryptor::<aes::Aes128>::new((&*key).into(), &vector.into())
                .decrypt_padded_vec::<Pkcs7>(sealed)
        }
        "AES-192-CBC" => {
            let key = derived::<24>(passphrase, salt);
            cbc::Decryptor::<aes::Aes192>::new((&*key).into(), &vector.into())
                .decrypt_padded_vec::<Pkcs7>(sealed)
        }
        "AES-256-CBC" => {
            let key = derived::<32>(passphrase, salt);
            cbc::Decryptor::<aes::Aes256>::new((&*key).into(), &vector.into())
                .decrypt_padded_vec::<Pkcs7>(sealed)
        }
        other => return Err(format!("keys under {other} are not read; AES is")),
    }
    .map(Zeroizing::new)
    .map_err(|_| WRONG.to_owned())
}

/// A key made of a passphrase: MD5 of what came before, the passphrase and the salt, again and again.
fn derived<const LEN: usize>(passphrase: &[u8], salt: &[u8]) -> Zeroizing<[u8; LEN]> {
    let mut key = Zeroizing::new([0; LEN]);
    let mut last = Zeroizing::new(Vec::new());
    for part in key.chunks_mut(16) {
        let mut hash = Md5::new();
        hash.update(last.as_slice());
        hash.update(passphrase);
        hash.update(salt);
        last = Zeroizing::new(hash.finalize().to_vec());
        let taken = &last[..part.len()];
        part.copy_from_slice(taken);
    }
    key
}

fn from_hex<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let digits = text.as_bytes();
    if digits.len() != LEN * 2 {
        return None;
    }
    let mut bytes = [0; LEN];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}
