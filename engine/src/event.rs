//! All that can come out. Events carry deltas and never running balances, so that a ledger can be rebuilt from
//! them and nothing printed depends on how far one stage had run ahead of another.

use crate::types::{
    AccountId, AirdropId, Amount, AssetId, ClientOrderId, Controls, Digest, ExternalId, FeeRate, Gate, MarketId,
    OperatorId, OrderId, Price, Quantity, Sequence, Side, Symbol, Timestamp, TradingStatus, WithdrawalId,
    wire::{Reader, Wire, WireError, Writer, messages, wire_enum},
};

messages! {
    /// An output of the exchange. Every command yields at least one.
    pub enum Event {
        /// The command was declined; nothing has changed.
        Refused = 1 {
            /// Why.
            reason: RejectReason,
            /// The kind number of the command.
            command_kind: u8,
            /// The account that the command names first, or 0.
            account: AccountId,
            /// The client order id that the command carries, or 0.
            client_order_id: ClientOrderId,
            /// The order or withdrawal that the command names, or 0.
            subject: u64,
        },
        /// An asset was added.
        AssetAdded = 2 {
            /// Its number.
            asset: AssetId,
            /// Its short name.
            symbol: Symbol,
            /// The decimal places of its minor unit.
            scale: u8,
        },
        /// A market was added.
        MarketAdded = 3 {
            /// Its number.
            market: MarketId,
            /// What is traded.
            base: AssetId,
            /// What it is paid in.
            quote: AssetId,
            /// Minor units of base in one lot.
            lot_size: Amount,
            /// Minor units of quote that one tick adds to the price of one lot.
            tick_value: Amount,
            /// The maker's rate.
            maker_rate: FeeRate,
            /// The taker's rate.
            taker_rate: FeeRate,
        },
        /// A market's fee rates were changed.
        MarketFeesSet = 4 {
            /// The market.
            market: MarketId,
            /// The maker's rate.
            maker_rate: FeeRate,
            /// The taker's rate.
            taker_rate: FeeRate,
        },
        /// A market's status was set.
        MarketStatusSet = 5 {
            /// The market.
            market: MarketId,
            /// What it accepts.
            status: TradingStatus,
        },
        /// The status of the whole exchange was set.
        GlobalStatusSet = 6 {
            /// What it accepts.
            status: TradingStatus,
        },

        /// Withdrawals of an asset were stopped or resumed.
        AssetWithdrawalsSet = 7 {
            /// The asset.
            asset: AssetId,
            /// Whether they may pass.
            withdrawals: Gate,
        },
        /// Time has passed.
        Ticked = 8 {},

        /// An account was created.
        AccountCreated = 10 {
            /// Its number.
            account: AccountId,
        },
        /// An account was suspended.
        AccountSuspended = 11 {
            /// Which.
            account: AccountId,
        },
        /// A suspension was lifted.
        AccountResumed = 12 {
            /// Whose.
            account: AccountId,
        },

        /// An operator was registered.
        OperatorRegistered = 13 {
            /// Who.
            operator: OperatorId,
            /// The public key.
            key: Digest,
        },
        /// An operator has no rights any more.
        OperatorRevoked = 14 {
            /// Who.
            operator: OperatorId,
        },

        /// Available grew by what arrived; `EXTERNAL` fell by it.
        Deposited = 20 {
            /// Whose.
            account: AccountId,
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
            /// The arrival's own id.
            external_id: ExternalId,
        },
        /// Available moved from one account to another.
        Transferred = 21 {
            /// The payer.
            from: AccountId,
            /// The payee.
            to: AccountId,
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
        },
        /// Available became held.
        WithdrawalRequested = 22 {
            /// Its id.
            withdrawal: WithdrawalId,
            /// Whose.
            account: AccountId,
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
        },
        /// Held became available again.
        WithdrawalCancelled = 23 {
            /// Which.
            withdrawal: WithdrawalId,
            /// Whose.
            account: AccountId,
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
        },
        /// Held fell; `EXTERNAL` grew by it.
        WithdrawalReleased = 24 {
            /// Which.
            withdrawal: WithdrawalId,
            /// Whose.
            account: AccountId,
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
        },
        /// A withdrawal was broadcast.
        WithdrawalSent = 25 {
            /// Which.
            withdrawal: WithdrawalId,
            /// Its id outside.
            external_id: ExternalId,
        },
        /// A withdrawal is final.
        WithdrawalSettled = 26 {
            /// Which.
            withdrawal: WithdrawalId,
        },
        /// Available grew by what did not leave; `EXTERNAL` fell by it.
        WithdrawalFailed = 27 {
            /// Which.
            withdrawal: WithdrawalId,
            /// Whose.
            account: AccountId,
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
        },

        /// `TREASURY` grew by what arrived; `EXTERNAL` fell by it.
        TreasuryFunded = 28 {
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
            /// The arrival's own id.
            external_id: ExternalId,
        },
        /// Reserves were attested. With the control on, reserves below liabilities trip the halt.
        ReservesAttested = 29 {
            /// What.
            asset: AssetId,
            /// How much there is.
            amount: Amount,
            /// What was owed to users, fees and treasury at that moment.
            liabilities: Amount,
        },
        /// The limit on withdrawals of an asset was set.
        PayoutVelocitySet = 30 {
            /// The asset.
            asset: AssetId,
            /// The most in one window.
            amount_max: Amount,
            /// The window, in seconds; 0 for no limit.
            window_seconds: u32,
        },
        /// The limits on airdrops of an asset were set.
        AirdropLimitsSet = 31 {
            /// The asset.
            asset: AssetId,
            /// The most that one recipient may get from one airdrop.
            recipient_max: Amount,
            /// The most that one airdrop may pay.
            airdrop_max: Amount,
            /// The most that all airdrops of one day may pay.
            day_max: Amount,
        },
        /// The preventive controls were set.
        ControlsSet = 32 {
            /// Those that are on.
            controls: Controls,
        },
        /// The manifest of an airdrop was opened.
        AirdropOpened = 33 {
            /// Which.
            airdrop: AirdropId,
            /// By whom.
            author: OperatorId,
            /// What is to be paid.
            asset: AssetId,
            /// How much in all.
            total: Amount,
            /// In how many lines.
            lines: u32,
            /// Locked for how many seconds.
            lock_seconds: u32,
        },
        /// A line was added to a manifest.
        AirdropLineAdded = 34 {
            /// To which.
            airdrop: AirdropId,
            /// Who is to get it.
            account: AccountId,
            /// How much.
            amount: Amount,
        },
        /// An airdrop was approved.
        AirdropApproved = 35 {
            /// Which.
            airdrop: AirdropId,
            /// By whom.
            operator: OperatorId,
        },
        /// An airdrop was paid out: `source` (`TREASURY` or `UNBACKED`) fell by the total. One
        /// [`AirdropCredited`](Self::AirdropCredited) for each line follows.
        AirdropExecuted = 36 {
            /// Which.
            airdrop: AirdropId,
            /// What was paid.
            asset: AssetId,
            /// How much in all.
            total: Amount,
            /// The system account that paid.
            source: AccountId,
            /// Until when it is locked; 0 without a lock.
            locked_until: Timestamp,
        },
        /// An account was credited: its available grew, or its held when the airdrop is locked.
        AirdropCredited = 37 {
            /// By which airdrop.
            airdrop: AirdropId,
            /// Whose.
            account: AccountId,
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
            /// Whether it is locked.
            locked: Gate,
        },
        /// The lock of a credit ended: held became available.
        AirdropUnlocked = 38 {
            /// Of which airdrop.
            airdrop: AirdropId,
            /// Whose.
            account: AccountId,
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
        },
        /// An airdrop was given up before it was executed.
        AirdropCancelled = 39 {
            /// Which.
            airdrop: AirdropId,
            /// By whom.
            operator: OperatorId,
        },
        /// Available paid what the account owed: `RECEIVABLES` grew by it.
        SetOffDone = 50 {
            /// Whose.
            account: AccountId,
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
            /// What is still owed.
            owed: Amount,
        },
        /// A crossed market was uncrossed at one price; the fills follow.
        AuctionUncrossed = 46 {
            /// Which.
            market: MarketId,
            /// The price of all fills.
            price: Price,
            /// How much trades, as far as no account meets itself.
            quantity: Quantity,
        },

        /// A part of a plan was journaled.
        PlanPartAdded = 60 {
            /// Its number.
            index: u32,
        },
        /// A new epoch begins. What changed with it follows in the events below, down to `EpochReady`.
        EpochStarted = 61 {
            /// The number of the new epoch.
            epoch: u32,
            /// The first sequence whose outcome may have changed.
            first_changed: Sequence,
            /// The hash of the plan.
            plan: Digest,
        },
        /// A fill of the old epoch is void.
        FillBusted = 62 {
            /// The sequence of the command that caused it.
            sequence: Sequence,
            /// Its position among that command's events.
            index: u32,
            /// The taker.
            taker: OrderId,
            /// The maker.
            maker: OrderId,
            /// Where.
            market: MarketId,
            /// The price.
            price: Price,
            /// How much.
            quantity: Quantity,
        },
        /// A balance is another: the differences, in minor units. Also of system accounts, whose balance is `available`.
        BalanceCorrected = 63 {
            /// Whose.
            account: AccountId,
            /// What.
            asset: AssetId,
            /// Added to available.
            available: i64,
            /// Added to held.
            held: i64,
        },
        /// An order that was open in the old epoch is not in the new one.
        OrderVoided = 64 {
            /// Which.
            order: OrderId,
            /// Whose.
            account: AccountId,
            /// Where.
            market: MarketId,
        },
        /// An order is open in the new epoch that was not in the old one, or that has another quantity, price or place now.
        OrderRestored = 65 {
            /// Which.
            order: OrderId,
            /// Whose.
            account: AccountId,
            /// Where.
            market: MarketId,
            /// Which side.
            side: Side,
            /// The limit.
            price: Price,
            /// What is open.
            quantity: Quantity,
            /// The order just before it at its price, or 0.
            behind: OrderId,
        },
        /// A withdrawal is in another state: its number as in the canonical state.
        WithdrawalCorrected = 66 {
            /// Which.
            withdrawal: WithdrawalId,
            /// Whose.
            account: AccountId,
            /// The state it is in, or 255 when it is not there.
            state: u8,
        },
        /// What an account owes is another.
        ReceivableCorrected = 67 {
            /// Whose.
            account: AccountId,
            /// What.
            asset: AssetId,
            /// How much it owes now.
            owed: Amount,
        },
        /// All that changed with the new epoch has been said.
        EpochReady = 68 {
            /// The number of the epoch.
            epoch: u32,
            /// The hash of the new state.
            state: Digest,
        },

        /// An order was accepted, and `held` moved from available to held: quote for a buy, base for a sell.
        OrderAccepted = 40 {
            /// Its id: the sequence of the command that placed it.
            order: OrderId,
            /// Whose.
            account: AccountId,
            /// Where.
            market: MarketId,
            /// Which side.
            side: Side,
            /// The limit, or 0 for a market order.
            price: Price,
            /// How much, or 0 for a market buy.
            quantity: Quantity,
            /// The worst case, now held.
            held: Amount,
            /// The owner's own name for it, or 0.
            client_order_id: ClientOrderId,
        },
        /// A taker traded with a maker at the maker's price.
        ///
        /// With `n` the notional: the buyer's held quote falls by `n`, by the fee if it is positive and by the
        /// part released; the seller's held base falls by the base amount; the buyer's available base grows by
        /// the base amount; the seller's available quote grows by `n` less the fee. A rebate is added to available quote. What was
        /// released is added to the buyer's available quote. `FEES` grows by both fees.
        Filled = 41 {
            /// The arriving order.
            taker: OrderId,
            /// The resting order.
            maker: OrderId,
            /// Whose the arriving order is.
            taker_account: AccountId,
            /// Whose the resting order is.
            maker_account: AccountId,
            /// Where.
            market: MarketId,
            /// The taker's side.
            taker_side: Side,
            /// The maker's price.
            price: Price,
            /// How much.
            quantity: Quantity,
            /// What is left open of the resting order; at 0 it is closed.
            maker_remaining: Quantity,
            /// What the taker is charged in quote; negative is a rebate.
            taker_fee: i64,
            /// What the maker is charged in quote; negative is a rebate.
            maker_fee: i64,
            /// The part of the buyer's hold that this fill makes needless.
            released: Amount,
        },
        /// An order was closed, other than by a fill, and the rest of its hold released.
        OrderCancelled = 42 {
            /// Which.
            order: OrderId,
            /// Whose.
            account: AccountId,
            /// Where.
            market: MarketId,
            /// Why.
            reason: CancelReason,
            /// What was open (0 for a market buy).
            quantity: Quantity,
            /// What moved from held to available.
            released: Amount,
        },
        /// An order's open quantity was lowered; it keeps its priority.
        OrderReduced = 43 {
            /// Which.
            order: OrderId,
            /// Whose.
            account: AccountId,
            /// Where.
            market: MarketId,
            /// What is open now.
            quantity: Quantity,
            /// What moved from held to available.
            released: Amount,
        },
        /// An order was given a new price and quantity and lost its priority. Its old hold was released and
        /// the new one taken.
        OrderReplaced = 44 {
            /// Which.
            order: OrderId,
            /// Whose.
            account: AccountId,
            /// Where.
            market: MarketId,
            /// The new limit.
            price: Price,
            /// The new open quantity.
            quantity: Quantity,
            /// The old hold.
            released: Amount,
            /// The new hold.
            held: Amount,
        },
        /// A mass cancel is done; the cancelled orders' events come before it.
        MassCancelled = 45 {
            /// The account, or 0 when a market was cleared.
            account: AccountId,
            /// The market, when the account is 0.
            market: MarketId,
            /// How many orders were cancelled.
            orders: u32,
        },
    }
}

/// An event with its place: what subscribers receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequencedEvent {
    /// The sequence of the command that caused it.
    pub sequence: Sequence,
    /// The command's time.
    pub time: Timestamp,
    /// Its position among the command's events, from 0.
    pub index: u32,
    /// What happened.
    pub event: Event,
}

impl SequencedEvent {
    /// Appends the canonical bytes: sequence, time, index, event.
    pub fn encode(&self, writer: &mut Writer) {
        self.sequence.put(writer);
        self.time.put(writer);
        self.index.put(writer);
        self.event.encode(writer);
    }
}

/// Where the state machine puts its events, in order.
pub trait EventSink {
    /// Takes the next event.
    fn emit(&mut self, event: Event);
}

impl EventSink for Vec<Event> {
    #[inline]
    fn emit(&mut self, event: Event) {
        self.push(event);
    }
}

/// A sink for those who only want the state.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEvents;

impl EventSink for NoEvents {
    #[inline]
    fn emit(&mut self, _event: Event) {}
}

macro_rules! reject_reasons {
    ($($(#[$meta:meta])* $variant:ident = $number:literal $text:literal),+ $(,)?) => {
        /// Why a command was refused. Numbers are fixed for ever and never reused.
        ///
        /// Checks run in the order in which the reasons stand here; risk's (below 100) before the matcher's (from 100), and a command
        /// is refused with the first that applies. The one exception is a replace that cannot be funded: only the
        /// matcher knows what the old order held, so `InsufficientAvailable` comes last there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum RejectReason { $($(#[$meta])* $variant = $number),+ }

        impl RejectReason {
            /// All reasons, in order of precedence.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The reason with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// The reason's name in reports and configuration: snake case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for RejectReason {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.name())
            }
        }
    };
}

reject_reasons! {
    /// The account's id is 0 or one of the system's.
    ReservedAccount = 1 "reserved_account",
    /// There is no such account.
    UnknownAccount = 2 "unknown_account",
    /// The account's id is taken.
    AccountExists = 3 "account_exists",
    /// The account is suspended (ordering, replacing, transferring, withdrawing), or is so already.
    AccountSuspended = 4 "account_suspended",
    /// The account that would be resumed is not suspended.
    AccountNotSuspended = 5 "account_not_suspended",
    /// The account owes: it may cancel and deposit, until what it owes is set off.
    AccountOwes = 71 "account_owes",
    /// Payer and payee are the same.
    SameAccount = 6 "same_account",
    /// There is no such asset.
    UnknownAsset = 10 "unknown_asset",
    /// The asset's id is at or above `ASSETS_MAX`.
    AssetIdTooLarge = 11 "asset_id_too_large",
    /// The asset's id is taken.
    AssetExists = 12 "asset_exists",
    /// The symbol is not 1 to 12 characters of A-Z and 0-9.
    InvalidSymbol = 13 "invalid_symbol",
    /// The symbol is taken.
    SymbolExists = 14 "symbol_exists",
    /// The scale is above `SCALE_MAX`.
    ScaleTooLarge = 15 "scale_too_large",
    /// There is no such market.
    UnknownMarket = 20 "unknown_market",
    /// The market's id is at or above `MARKETS_MAX`.
    MarketIdTooLarge = 21 "market_id_too_large",
    /// The market's id is taken.
    MarketExists = 22 "market_exists",
    /// Base and quote are the same asset.
    SameBaseAndQuote = 23 "same_base_and_quote",
    /// The lot size is zero or above `AMOUNT_MAX`.
    InvalidLotSize = 24 "invalid_lot_size",
    /// The tick value is zero or above `AMOUNT_MAX`.
    InvalidTickValue = 25 "invalid_tick_value",
    /// A fee rate is out of range.
    FeeRateOutOfRange = 26 "fee_rate_out_of_range",
    /// Maker and taker rate sum to less than zero.
    FeeRatesSumNegative = 27 "fee_rates_sum_negative",
    /// There is no such withdrawal.
    UnknownWithdrawal = 30 "unknown_withdrawal",
    /// The withdrawal is another account's, or of another asset or amount.
    WithdrawalMismatch = 31 "withdrawal_mismatch",
    /// The withdrawal is not in the state from which this step is possible.
    WithdrawalStateInvalid = 32 "withdrawal_state_invalid",
    /// The exchange is halted.
    ExchangeHalted = 35 "exchange_halted",
    /// The exchange stands still for a recovery, and this is no fact.
    ExchangeFrozen = 36 "exchange_frozen",
    /// Withdrawals of the asset are stopped.
    WithdrawalsStopped = 37 "withdrawals_stopped",
    /// A market cannot have this status.
    InvalidStatus = 38 "invalid_status",
    /// The price is zero.
    ZeroPrice = 40 "zero_price",
    /// The price is above `PRICE_MAX`.
    PriceTooLarge = 41 "price_too_large",
    /// The quantity is zero.
    ZeroQuantity = 42 "zero_quantity",
    /// The quantity, in minor units of base, is above `AMOUNT_MAX`.
    QuantityTooLarge = 43 "quantity_too_large",
    /// The worst case, fees included, is above `AMOUNT_MAX`.
    NotionalTooLarge = 44 "notional_too_large",
    /// The amount or budget is zero.
    ZeroAmount = 45 "zero_amount",
    /// The amount or budget is above `AMOUNT_MAX`.
    AmountTooLarge = 46 "amount_too_large",
    /// The asset's supply would pass `AMOUNT_MAX`.
    SupplyTooLarge = 47 "supply_too_large",
    /// This arrival has been credited before.
    DuplicateExternalId = 48 "duplicate_external_id",
    /// What is available does not cover the amount or the hold.
    InsufficientAvailable = 49 "insufficient_available",
    /// More would be asked for in this asset than may be within the window: the exchange trips.
    VelocityExceeded = 70 "velocity_exceeded",
    /// There is no such operator.
    UnknownOperator = 50 "unknown_operator",
    /// The operator's number is 0 or taken.
    OperatorExists = 51 "operator_exists",
    /// Two operators must be different, and are the same.
    SameOperator = 52 "same_operator",
    /// Two registered operators must vouch for this.
    EndorsementMissing = 53 "endorsement_missing",
    /// The airdrop's number was used before.
    AirdropExists = 54 "airdrop_exists",
    /// There is no such airdrop.
    UnknownAirdrop = 55 "unknown_airdrop",
    /// The airdrop was executed or cancelled, or is approved and takes no more lines, or is not complete.
    AirdropStateInvalid = 56 "airdrop_state_invalid",
    /// The number of lines is zero or above the most there can be.
    LineCountInvalid = 57 "line_count_invalid",
    /// The airdrop has a line for the account already.
    DuplicateRecipient = 58 "duplicate_recipient",
    /// Lines are missing.
    AirdropIncomplete = 59 "airdrop_incomplete",
    /// The lines do not sum to the total.
    AirdropTotalMismatch = 60 "airdrop_total_mismatch",
    /// The lines do not have the hash.
    AirdropHashMismatch = 61 "airdrop_hash_mismatch",
    /// Nobody but the author has approved the airdrop.
    ApprovalMissing = 62 "approval_missing",
    /// A recipient would get more than one may get.
    OverRecipientLimit = 63 "over_recipient_limit",
    /// The airdrop would pay more than one may pay.
    OverAirdropLimit = 64 "over_airdrop_limit",
    /// The airdrops of the day would pay more than they may.
    OverDayLimit = 65 "over_day_limit",
    /// The treasury does not have the total.
    TreasuryNotCovered = 66 "treasury_not_covered",
    /// No reserves of the asset were ever attested.
    ReservesNotAttested = 67 "reserves_not_attested",
    /// Liabilities would be above the attested reserves.
    ReservesExceeded = 68 "reserves_exceeded",
    /// The account owes nothing of the asset.
    NothingOwed = 72 "nothing_owed",
    /// The set of controls has unknown ones.
    InvalidControls = 73 "invalid_controls",
    /// A part of a plan has no such length.
    InvalidPlanPart = 74 "invalid_plan_part",
    /// The epoch would start at another sequence than was prepared for.
    EpochOutOfPlace = 75 "epoch_out_of_place",
    /// There is no such open order of this account.
    OrderNotFound = 100 "order_not_found",
    /// The order is on another market or side than the command says.
    OrderMismatch = 101 "order_mismatch",
    /// The whole exchange, or the market, is halted.
    MarketHalted = 102 "market_halted",
    /// The whole exchange, or the market, accepts cancels and reductions only.
    MarketCancelOnly = 103 "market_cancel_only",
    /// The market collects orders for an auction, and this one could not stand.
    MarketInAuction = 108 "market_in_auction",
    /// The account has an open order of that name.
    DuplicateClientOrderId = 104 "duplicate_client_order_id",
    /// The exchange holds as many open orders as it can.
    TooManyOpenOrders = 105 "too_many_open_orders",
    /// A post-only order would trade at once.
    WouldTrade = 106 "would_trade",
    /// A fill-or-kill order cannot trade in full at once.
    NotFillable = 107 "not_fillable",
}

impl Wire for RejectReason {
    #[inline]
    fn put(&self, writer: &mut Writer) {
        writer.put((*self as u16).to_le_bytes());
    }
    #[inline]
    fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let number = u16::from_le_bytes(reader.take()?);
        Self::from_number(number).ok_or(WireError::InvalidValue { field: "RejectReason", value: number.into() })
    }
}

crate::types::small_enum! {
    /// Why an order was closed other than by a fill.
    CancelReason {
        /// Its owner cancelled it.
        Owner = 0 "owner",
        /// It was taken by a mass cancel.
        MassCancel = 1 "mass_cancel",
        /// The part of an immediate-or-cancel or market order that found nothing.
        Unfilled = 2 "unfilled",
        /// The budget of a market buy affords no further lot.
        BudgetSpent = 3 "budget_spent",
        /// It met an order of its own account: the rest of the arriving order is cancelled.
        SelfTrade = 4 "self_trade",
        /// A recovery could not fund it, or repeats how it was closed.
        Recovery = 5 "recovery",
    }
}
wire_enum!(CancelReason);
