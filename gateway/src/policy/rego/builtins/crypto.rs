//! `crypto.*`: digests and keyed hashes, in hexadecimal.

use hmac::digest::block_buffer::Eager;
use hmac::digest::core_api::{BlockSizeUser, BufferKindUser, CoreProxy, FixedOutputCore, UpdateCore};
use hmac::digest::typenum::{IsLess, Le, NonZero, U256};
use hmac::digest::{Digest, HashMarker};
use hmac::{Hmac, Mac};
use regorus::Value;
use subtle::ConstantTimeEq;

use super::{Answer, Failed, text_arg};

pub(super) fn md5(args: &[Value]) -> Answer {
    digest::<md5::Md5>(args)
}

pub(super) fn sha1(args: &[Value]) -> Answer {
    digest::<sha1::Sha1>(args)
}

pub(super) fn sha256(args: &[Value]) -> Answer {
    digest::<sha2::Sha256>(args)
}

pub(super) fn hmac_md5(args: &[Value]) -> Answer {
    keyed::<md5::Md5>(args)
}

pub(super) fn hmac_sha1(args: &[Value]) -> Answer {
    keyed::<sha1::Sha1>(args)
}

pub(super) fn hmac_sha256(args: &[Value]) -> Answer {
    keyed::<sha2::Sha256>(args)
}

pub(super) fn hmac_sha384(args: &[Value]) -> Answer {
    keyed::<sha2::Sha384>(args)
}

pub(super) fn hmac_sha512(args: &[Value]) -> Answer {
    keyed::<sha2::Sha512>(args)
}

/// In a time that doesn't depend on where the two differ.
pub(super) fn hmac_equal(args: &[Value]) -> Answer {
    let same: bool = text_arg(args, 0)?.as_bytes().ct_eq(text_arg(args, 1)?.as_bytes()).into();
    Ok(Value::from(same))
}

fn digest<D: Digest>(args: &[Value]) -> Answer {
    Ok(hex(&D::digest(text_arg(args, 0)?.as_bytes())))
}

fn keyed<D>(args: &[Value]) -> Answer
where
    D: CoreProxy,
    D::Core: HashMarker + UpdateCore + FixedOutputCore + BufferKindUser<BufferKind = Eager> + Default + Clone,
    <D::Core as BlockSizeUser>::BlockSize: IsLess<U256>,
    Le<<D::Core as BlockSizeUser>::BlockSize, U256>: NonZero,
{
    let (text, key) = (text_arg(args, 0)?, text_arg(args, 1)?);
    let mut mac = Hmac::<D>::new_from_slice(key.as_bytes()).map_err(|fault| Failed::new(fault.to_string()))?;
    mac.update(text.as_bytes());
    Ok(hex(&mac.finalize().into_bytes()))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> Value {
    Value::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}
