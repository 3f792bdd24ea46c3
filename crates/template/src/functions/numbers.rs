//! Arithmetic: whole numbers as long as all operands are, else floats; texts are read as numbers.

use super::convert::{is_float, is_int, to_float, to_int};
use super::{Answer, Function, MANY, family, quick, walk};
use crate::error::Trouble;
use crate::value::Value;

/// Numbers that `seq` gives at most.
const MAX_SEQUENCE: i128 = 1_000_000;

pub(super) const FUNCTIONS: &[Function] = &[
    family("math."),
    quick("add", 1, MANY, add),
    quick("math.Add", 1, MANY, add),
    quick("subtract", 2, 2, subtract),
    quick("sub", 2, 2, subtract),
    quick("math.Sub", 2, 2, subtract),
    quick("mul", 1, MANY, multiply),
    quick("math.Mul", 1, MANY, multiply),
    quick("div", 2, 2, divide),
    quick("math.Div", 2, 2, divide),
    quick("idiv", 2, 2, divide_whole),
    quick("rem", 2, 2, remainder),
    quick("math.Rem", 2, 2, remainder),
    quick("pow", 2, 2, power),
    quick("math.Pow", 2, 2, power),
    walk("seq", 1, 3, sequence),
    walk("math.Seq", 1, 3, sequence),
    walk("until", 1, 1, until),
    walk("untilStep", 3, 3, until),
    quick("add1", 1, 1, |values| Ok(to_int(&values[0])?.wrapping_add(1).into())),
    quick("math.Abs", 1, 1, absolute),
    quick("math.Ceil", 1, 1, |values| Ok(to_float(&values[0])?.ceil().into())),
    quick("math.Floor", 1, 1, |values| Ok(to_float(&values[0])?.floor().into())),
    quick("math.Round", 1, 1, |values| Ok(to_float(&values[0])?.round().into())),
    quick("math.IsInt", 1, 1, |values| Ok(is_int(&values[0]).into())),
    quick("math.IsFloat", 1, 1, |values| Ok(is_float(&values[0]).into())),
    quick("math.IsNum", 1, 1, |values| Ok((is_int(&values[0]) || is_float(&values[0])).into())),
    quick("math.Max", 1, MANY, |values| extreme(values, i64::max, f64::max)),
    quick("math.Min", 1, MANY, |values| extreme(values, i64::min, f64::min)),
];

fn fold(values: &[Value], whole: fn(i64, i64) -> i64, real: fn(f64, f64) -> f64) -> Answer {
    if values.iter().any(is_float) {
        let mut numbers = values.iter().map(to_float);
        let first = numbers.next().unwrap_or(Ok(0.0))?;
        return Ok(numbers.try_fold(first, |a, b| b.map(|b| real(a, b)))?.into());
    }
    let mut numbers = values.iter().map(to_int);
    let first = numbers.next().unwrap_or(Ok(0))?;
    Ok(numbers.try_fold(first, |a, b| b.map(|b| whole(a, b)))?.into())
}

// Go's whole numbers wrap around.
fn add(values: &[Value]) -> Answer {
    fold(values, i64::wrapping_add, |a, b| a + b)
}

fn subtract(values: &[Value]) -> Answer {
    fold(values, i64::wrapping_sub, |a, b| a - b)
}

fn multiply(values: &[Value]) -> Answer {
    fold(values, i64::wrapping_mul, |a, b| a * b)
}

fn extreme(values: &[Value], whole: fn(i64, i64) -> i64, real: fn(f64, f64) -> f64) -> Answer {
    fold(values, whole, real)
}

/// Always with a fraction, if there is one: `div 7 2` is 3.5.
fn divide(values: &[Value]) -> Answer {
    let (a, b) = (to_float(&values[0])?, to_float(&values[1])?);
    if b == 0.0 {
        return Err(Trouble::new("this divides by zero"));
    }
    Ok((a / b).into())
}

fn divide_whole(values: &[Value]) -> Answer {
    whole(values, i64::wrapping_div)
}

fn remainder(values: &[Value]) -> Answer {
    whole(values, i64::wrapping_rem)
}

fn whole(values: &[Value], divide: fn(i64, i64) -> i64) -> Answer {
    let (a, b) = (to_int(&values[0])?, to_int(&values[1])?);
    if b == 0 {
        return Err(Trouble::new("this divides by zero"));
    }
    Ok(divide(a, b).into())
}

fn power(values: &[Value]) -> Answer {
    let result = to_float(&values[0])?.powf(to_float(&values[1])?);
    if is_float(&values[0]) {
        return Ok(result.into());
    }
    to_int(&result.into()).map(Value::Int)
}

fn absolute(values: &[Value]) -> Answer {
    let result = to_float(&values[0])?.abs();
    if is_int(&values[0]) { to_int(&result.into()).map(Value::Int) } else { Ok(result.into()) }
}

/// `seq end`, `seq start end`, `seq start end step`: both ends are in it, and it counts down when the end is below.
fn sequence(values: &[Value]) -> Answer {
    let numbers = values.iter().map(to_int).collect::<Result<Vec<i64>, _>>()?;
    let (start, end, step) = match numbers.as_slice() {
        [start, end] => (*start, *end, 1),
        [start, end, step] => (*start, *end, *step),
        numbers => (1, numbers.first().copied().unwrap_or(0), 1),
    };
    let (start, end, step) = (i128::from(start), i128::from(end), i128::from(step).abs());
    if step == 0 {
        return Ok(Value::list(Vec::new()));
    }
    walked(start, if end < start { -step } else { step }, (end - start).abs() / step + 1)
}

fn walked(start: i128, step: i128, count: i128) -> Answer {
    if count > MAX_SEQUENCE {
        return Err(Trouble::new(format!("this sequence has {count} numbers; at most {MAX_SEQUENCE} are possible")));
    }
    let number = |index: i128| Value::Int(i64::try_from(start + index * step).unwrap_or(i64::MAX));
    Ok(Value::list((0..count).map(number).collect()))
}

/// `until end`, `untilStep start end step`, of older files: from 0, or the start, to just before the end; nothing where the
/// step leads away from it.
fn until(values: &[Value]) -> Answer {
    let numbers = values.iter().map(to_int).collect::<Result<Vec<i64>, _>>()?;
    let (start, end, step) = match numbers.as_slice() {
        [start, end, step] => (i128::from(*start), i128::from(*end), i128::from(*step)),
        numbers => {
            let end = i128::from(numbers.first().copied().unwrap_or(0));
            (0, end, end.signum())
        }
    };
    if step == 0 || (end - start).signum() != step.signum() {
        return Ok(Value::list(Vec::new()));
    }
    walked(start, step, ((end - start).abs() + step.abs() - 1) / step.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_stops_before_the_end() {
        let given = |values: &[i64]| {
            let values: Vec<Value> = values.iter().map(|value| Value::Int(*value)).collect();
            until(&values).unwrap()
        };
        let list = |numbers: &[i64]| Value::list(numbers.iter().map(|number| Value::Int(*number)).collect());
        assert_eq!(given(&[3]), list(&[0, 1, 2]));
        assert_eq!(given(&[-2]), list(&[0, -1]));
        assert_eq!(given(&[0]), list(&[]));
        assert_eq!(given(&[1, 6, 2]), list(&[1, 3, 5]));
        assert_eq!(given(&[6, 1, -2]), list(&[6, 4, 2]));
        assert_eq!(given(&[1, 6, -1]), list(&[]));
        assert_eq!(given(&[1, 6, 0]), list(&[]));
        assert!(until(&[Value::Int(i64::MAX)]).is_err());
    }
}
