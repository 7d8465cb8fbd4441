//! Client-to-server masking (RFC 6455 §5.3).

/// XORs `data` with `mask` in place and returns the mask as the byte behind `data` must see it.
pub(super) fn unmask(data: &mut [u8], mask: [u8; 4]) -> [u8; 4] {
    // Sixteen bytes at a time: the compiler makes vector code of it.
    let mut wide = [0; 16];
    for quarter in wide.chunks_exact_mut(4) {
        quarter.copy_from_slice(&mask);
    }
    let wide = u128::from_ne_bytes(wide);
    let (chunks, rest) = data.as_chunks_mut::<16>();
    for chunk in chunks {
        *chunk = (u128::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    let narrow = u32::from_ne_bytes(mask);
    let (words, rest) = rest.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ narrow).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask) {
        *byte ^= key;
    }
    // At most three bytes are left.
    let bits = 8 * rest.len() as u32;
    u32::from_le_bytes(mask).rotate_right(bits).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::unmask;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_definition_however_it_is_cut(
            data in proptest::collection::vec(any::<u8>(), 0..200), mask: [u8; 4], cut in 0usize..200) {
            let expected: Vec<u8> = data.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
            let mut actual = data.clone();
            let (left, right) = actual.split_at_mut(cut.min(data.len()));
            let turned = unmask(left, mask);
            unmask(right, turned);
            prop_assert_eq!(actual, expected);
        }
    }
}
