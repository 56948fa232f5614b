//! The vocabulary: ids, prices, quantities, amounts, and the specifications of assets and markets.
//!
//! Depends on nothing else in the crate. Integers only, except [`decimal`], the one place where human decimals
//! are turned into ticks, lots and minor units and back; the state machine never names it.

pub mod decimal;
mod ids;
mod money;
mod spec;
pub mod wire;

pub use ids::{
    AccountId, AirdropId, AssetId, Cause, CauseKind, ClientOrderId, Digest, ExternalId, ManifestHash, MarketId,
    OperatorId, OrderId, Sequence, Timestamp, WithdrawalId,
};
pub use money::{AMOUNT_MAX, Amount, FEE_RATE_DENOMINATOR, FEE_RATE_MAX, FeeRate, PRICE_MAX, Price, Quantity};
pub(crate) use spec::small_enum;
pub use spec::{
    ASSETS_MAX, AssetSpec, Controls, Gate, LimitType, MARKETS_MAX, MarketSpec, SCALE_MAX, Side, Symbol, SymbolError,
    TradingStatus,
};
