//! Decimals, exactly as written.

/// Digits that 128 bits hold for certain.
const DIGITS_MAX: usize = 38;

/// Why a text is not a decimal of the asked size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotDecimal {
    /// It is no number at all.
    Text,
    /// It has more digits before or after the point than the column holds.
    Digits,
}

/// Reads a JSON number (or the same within a string) into a whole number of `10^-scale`.
pub(crate) fn parse(text: &str, precision: u8, scale: i8) -> Result<i128, NotDecimal> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let exponent: i64 = exponent.parse().map_err(|_| NotDecimal::Text)?;
            (mantissa, exponent)
        }
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let good = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !good(whole) || !good(fraction) {
        return Err(NotDecimal::Text);
    }
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let leading = digits.iter().take_while(|digit| **digit == b'0').count();
    let digits = digits.get(leading..).unwrap_or_default();
    if digits.is_empty() {
        return Ok(0);
    }
    let fraction_digits = i64::try_from(fraction.len()).map_err(|_| NotDecimal::Digits)?;
    let shift = exponent
        .checked_sub(fraction_digits)
        .and_then(|shift| shift.checked_add(i64::from(scale)))
        .ok_or(NotDecimal::Digits)?;
    let value = shifted(digits, shift)?;
    let limit = 10_i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
    if value >= limit {
        return Err(NotDecimal::Digits);
    }
    Ok(if negative { -value } else { value })
}

/// `digits × 10^shift`, refused where digits other than zeros would fall off.
fn shifted(digits: &[u8], shift: i64) -> Result<i128, NotDecimal> {
    let (digits, zeros) = if shift < 0 {
        let cut = usize::try_from(-shift).map_err(|_| NotDecimal::Digits)?;
        let keep = digits.len().checked_sub(cut).ok_or(NotDecimal::Digits)?;
        let (kept, lost) = digits.split_at(keep);
        if lost.iter().any(|digit| *digit != b'0') {
            return Err(NotDecimal::Digits);
        }
        (kept, 0)
    } else {
        (digits, usize::try_from(shift).map_err(|_| NotDecimal::Digits)?)
    };
    if digits.len().saturating_add(zeros) > DIGITS_MAX {
        return Err(NotDecimal::Digits);
    }
    let value = digits
        .iter()
        .fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    Ok((0..zeros).fold(value, |value, _| value * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_digit_or_refuses() {
        assert_eq!(parse("12.34", 10, 2), Ok(1234));
        assert_eq!(parse("-0.1", 10, 2), Ok(-10));
        assert_eq!(parse("1.50e3", 10, 2), Ok(150_000));
        assert_eq!(parse("1e-2", 10, 2), Ok(1));
        assert_eq!(parse("12.3400", 10, 2), Ok(1234));
        assert_eq!(parse("0.000", 1, 0), Ok(0));
        assert_eq!(parse("12.345", 10, 2), Err(NotDecimal::Digits));
        assert_eq!(parse("123456789.00", 10, 2), Err(NotDecimal::Digits));
        assert_eq!(parse("1e99999999999", 10, 2), Err(NotDecimal::Digits));
        assert_eq!(parse("9".repeat(38).as_str(), 38, 0), Ok(10_i128.pow(38) - 1));
        for text in ["", "-", ".5", "1,5", "abc", "0x1", "1e", "NaN"] {
            assert_eq!(parse(text, 10, 2), Err(NotDecimal::Text), "{text}");
        }
    }
}
