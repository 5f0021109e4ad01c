//! Conditions on labels as a user writes them, and as the ledger has them.

use hanse_core::selector::{Expression, Operator};
use hanse_crds::{LabelExpression, LabelOperator};

pub(super) fn expression(written: &LabelExpression) -> Expression {
    Expression {
        key: written.key.clone(),
        operator: match written.operator {
            LabelOperator::In => Operator::In,
            LabelOperator::NotIn => Operator::NotIn,
            LabelOperator::Exists => Operator::Exists,
            LabelOperator::DoesNotExist => Operator::DoesNotExist,
        },
        values: written.values.clone(),
    }
}

pub(super) fn written_expression(expression: &Expression) -> LabelExpression {
    LabelExpression {
        key: expression.key.clone(),
        operator: match expression.operator {
            Operator::In => LabelOperator::In,
            Operator::NotIn => LabelOperator::NotIn,
            Operator::Exists => LabelOperator::Exists,
            Operator::DoesNotExist => LabelOperator::DoesNotExist,
        },
        values: expression.values.clone(),
    }
}
