//! Private keys as settings hold them: PEM, on one line or several, with or without a passphrase.

use aws_lc_rs::cipher::{self, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey};
use std::num::NonZeroU32;
use weir_protocol::{Error, Result};

const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
/// Rounds of the key derivation; a key that asks for more would keep the machine busy for long.
const ROUNDS_MAX: u32 = 10_000_000;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NAME: u8 = 0x06;

// Names of algorithms as DER writes them (RFC 8018).
const PBES2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
const PBKDF2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
const HMAC: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02";
const AES: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01";

/// Keys kept on one line have their line ends written out.
fn lines(text: &str) -> String {
    text.replace("\\n", "\n")
}

pub(super) fn of(algorithm: Algorithm, secret: &str) -> Result<EncodingKey> {
    let pem = lines(secret);
    let made = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            return Ok(EncodingKey::from_secret(secret.as_bytes()));
        }
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
        _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
    };
    made.map_err(|error| {
        Error::auth("the private key cannot be read")
            .caused_by(error)
            .hint("set the whole PEM text, with its BEGIN and END lines")
    })
}

/// The same key without its passphrase.
pub(super) fn opened(secret: &str, passphrase: &str) -> Result<String> {
    let pem = lines(secret);
    let body = pem.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let Some((body, _)) = body else {
        return Err(Error::auth("a passphrase is set, but the private key is not a PEM text of the kind ENCRYPTED PRIVATE KEY")
            .hint("leave the passphrase out if the key has none; a key in OpenSSL's old format is converted by: openssl pkcs8 -topk8 -v2 aes-256-cbc -in key.pem"));
    };
    let body: String = body.split_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|error| {
        Error::auth("the encrypted private key cannot be read")
            .caused_by(error)
            .hint("set the whole PEM text, with its BEGIN and END lines")
    })?;
    let sealed = Sealed::read(&der).ok_or_else(|| {
        Error::auth(
            "the private key is encrypted in a way that is not available; PBES2 with PBKDF2 and AES is",
        )
        .hint("convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in key.pem")
    })?;
    let opened = sealed.open(passphrase).ok_or_else(|| {
        Error::auth("the private key does not open with the passphrase")
            .hint("check the passphrase in the connection's settings")
    })?;
    let encoded = STANDARD.encode(opened);
    Ok(format!(
        "-----BEGIN PRIVATE KEY-----\n{encoded}\n-----END PRIVATE KEY-----\n"
    ))
}

/// A key and how it was encrypted.
struct Sealed<'d> {
    salt: &'d [u8],
    rounds: NonZeroU32,
    digest: pbkdf2::Algorithm,
    cipher: (&'static cipher::Algorithm, usize),
    iv: [u8; 16],
    data: &'d [u8],
}

impl<'d> Sealed<'d> {
    /// None where it is not what [`opened`] says that it reads.
    fn read(der: &'d [u8]) -> Option<Self> {
        let mut whole = take(&mut &*der, SEQUENCE)?;
        let mut scheme = take(&mut whole, SEQUENCE)?;
        let data = take(&mut whole, OCTETS)?;
        let is_pbes2 = take(&mut scheme, NAME)? == PBES2;
        let mut parts = take(&mut scheme, SEQUENCE)?;
        let mut derivation = take(&mut parts, SEQUENCE)?;
        let mut encryption = take(&mut parts, SEQUENCE)?;
        let is_pbkdf2 = take(&mut derivation, NAME)? == PBKDF2;
        let mut rules = take(&mut derivation, SEQUENCE)?;
        let salt = take(&mut rules, OCTETS)?;
        let rounds = take(&mut rules, INTEGER)?;
        let rounds = rounds.iter().try_fold(0_u32, |sum, byte| {
            sum.checked_mul(256)?.checked_add(u32::from(*byte))
        })?;
        if rules.first() == Some(&INTEGER) {
            // The length of the key, which the cipher tells too.
            take(&mut rules, INTEGER)?;
        }
        let digest = match take(&mut rules, SEQUENCE) {
            None => pbkdf2::PBKDF2_HMAC_SHA1,
            Some(mut name) => match take(&mut name, NAME)?.strip_prefix(HMAC)? {
                [7] => pbkdf2::PBKDF2_HMAC_SHA1,
                [9] => pbkdf2::PBKDF2_HMAC_SHA256,
                [10] => pbkdf2::PBKDF2_HMAC_SHA384,
                [11] => pbkdf2::PBKDF2_HMAC_SHA512,
                _ => return None,
            },
        };
        let cipher = match take(&mut encryption, NAME)?.strip_prefix(AES)? {
            [2] => (&cipher::AES_128, 16),
            [22] => (&cipher::AES_192, 24),
            [42] => (&cipher::AES_256, 32),
            _ => return None,
        };
        let iv = take(&mut encryption, OCTETS)?.try_into().ok()?;
        let rounds = NonZeroU32::new(rounds).filter(|rounds| rounds.get() <= ROUNDS_MAX)?;
        (is_pbes2 && is_pbkdf2).then_some(Self {
            salt,
            rounds,
            digest,
            cipher,
            iv,
            data,
        })
    }

    /// None where the passphrase is another.
    fn open(&self, passphrase: &str) -> Option<Vec<u8>> {
        let (algorithm, length) = self.cipher;
        let mut key = vec![0; length];
        pbkdf2::derive(
            self.digest,
            self.rounds,
            self.salt,
            passphrase.as_bytes(),
            &mut key,
        );
        let key = UnboundCipherKey::new(algorithm, &key).ok()?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
        let mut data = self.data.to_vec();
        let iv = DecryptionContext::Iv128(FixedLength::from(&self.iv));
        let opened = key.decrypt(&mut data, iv).ok()?.to_vec();
        // A wrong passphrase may leave a padding that looks right, but hardly a key.
        let mut rest = opened.as_slice();
        take(&mut rest, SEQUENCE)?;
        rest.is_empty().then_some(opened)
    }
}

/// The contents of the next value if it is of this kind.
fn take<'d>(from: &mut &'d [u8], kind: u8) -> Option<&'d [u8]> {
    let (found, rest) = from.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short @ 0..=127 => (short, rest),
        long => {
            let bytes = rest.get(..(long - 128).min(4))?;
            let length = bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest.get(bytes.len()..)?)
        }
    };
    let contents = rest.get(..length).filter(|_| *found == kind)?;
    *from = rest.get(length..)?;
    Some(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by `openssl pkcs8 -topk8` for this test, with the passphrase below.
    const PASSPHRASE: &str = "a-passphrase";
    const OPEN: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgl9+6OKie343vZgnf
cENKIPEbkoNhn7sjPP/JJeNgrh6hRANCAASBU5bfSQ+lA8K1rNO7gLvXCNg1V85/
L23FxAP25fMMDiomB5nQtiHt3pfJaMYeYv3ALYNJfEr+M65j9opB1a1/
-----END PRIVATE KEY-----";
    const AES_256: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhkF0qu7SjsfAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEOTxbjeqPFiGvzUPseGzyJ0EgZA/
7bbzYLqtCJt3jfl31L/QfjsjrGRJ4a9Nuz6v/IDhIzNYgn16rm4jEJa7NIwiEPbQ
r+dXLHzt/HRQUU4DWbTW9h0fo8gwtioh0KOKJl1VdBsCZH9UinaVbRTkpYawYKo4
mrx+rPyyBYTYlg0KDnZRmVZmjXg7+7jKNCZi7Mwa+ENu2MX56kdxoEBluqdu8gw=
-----END ENCRYPTED PRIVATE KEY-----";
    const AES_128_SHA1: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHeMEkGCSqGSIb3DQEFDTA8MBsGCSqGSIb3DQEFDDAOBAhoh07vjj6gLwICCAAw
HQYJYIZIAWUDBAECBBAh9wiWoVEf4aFf4Z1heixSBIGQjct6zYjWQGORKRNwZpJk
l4wLef6daM+TlCVhfRf+3xFYHmBpVm90idB65ykVt1hNP+dKXzvcaczpgriubp2u
yFzV6UzGIBgoUDie18gV2vfb5Hi00s1jfPPxqnlJVfqfzFKVuUEzZtJ4X2d2qurh
7vo3OwTUofgljo5ld45dNL4iyyVdGN/2lOkUkLqySS1v
-----END ENCRYPTED PRIVATE KEY-----";
    const TRIPLE_DES: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAjsDBO/2JnPuAICCAAw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQIqlQI53ZGZmsEgZAfM0Q51UVpnB8C
qwLcjSq8w5FsqyQ3U8pbEFxJjmrXxNoYzTtZYGrRhvNPiT0uSzfWylU9o4PkxV7B
qdQFReK38guQF4jNnGEx/Enpml5447Yj1qj1g7Ghnp2KLc9cFObMZhtMUDfKM0zR
wpaC3WV4SHkgHs5M3I3d3N5NA2mXvmPVK5fe/VQaAkZ/549SfIQ=
-----END ENCRYPTED PRIVATE KEY-----";

    fn body(pem: &str) -> String {
        pem.lines().filter(|line| !line.starts_with('-')).collect()
    }

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_only() {
        for sealed in [AES_256, AES_128_SHA1] {
            assert_eq!(body(&opened(sealed, PASSPHRASE).unwrap()), body(OPEN));
            let on_one_line = sealed.replace('\n', "\\n");
            assert_eq!(body(&opened(&on_one_line, PASSPHRASE).unwrap()), body(OPEN));
            let error = opened(sealed, "another").unwrap_err();
            assert!(error.message().contains("does not open"), "{error}");
        }
        assert!(of(Algorithm::ES256, &opened(AES_256, PASSPHRASE).unwrap()).is_ok());
    }

    #[test]
    fn what_cannot_be_opened_is_told_with_what_to_do() {
        let error = opened(TRIPLE_DES, PASSPHRASE).unwrap_err();
        assert!(error.next_step().unwrap().contains("openssl pkcs8"), "{error}");
        let error = opened(OPEN, PASSPHRASE).unwrap_err();
        assert!(error.message().contains("ENCRYPTED PRIVATE KEY"), "{error}");
        let cut = AES_256.replacen("\n", "\nAAAA", 1);
        assert!(opened(&cut, PASSPHRASE).is_err());
    }
}
