//! All that can go in. Each kind has a number that is fixed for ever: it is what the journal holds.

use crate::types::{
    AccountId, AirdropId, Amount, AssetId, Cause, ClientOrderId, Controls, Digest, ExternalId, FeeRate, Gate,
    LimitType, ManifestHash, MarketId, OperatorId, OrderId, Price, Quantity, Sequence, Side, Symbol, Timestamp,
    TradingStatus, WithdrawalId, wire::messages,
};

messages! {
    /// An input to the exchange.
    ///
    /// Whatever its fields hold, the exchange takes it: what it declines it refuses with a numbered
    /// [`RejectReason`](crate::event::RejectReason), and changes nothing.
    ///
    /// ```
    /// use engine::{command::Command, types::{AccountId, wire::Writer}};
    /// let command = Command::CreateAccount { account: AccountId(7) };
    /// let mut writer = Writer::default();
    /// command.encode(&mut writer);
    /// assert_eq!(writer.as_bytes(), [10, 7, 0, 0, 0]);
    /// assert_eq!(Command::decode(writer.as_bytes()), Ok(command));
    /// ```
    pub enum Command {
        /// Adds an asset.
        AddAsset = 1 {
            /// Its number, not yet taken.
            asset: AssetId,
            /// Its short name, not yet taken.
            symbol: Symbol,
            /// The decimal places of its minor unit.
            scale: u8,
        },
        /// Adds a market, open at once; see [`MarketSpec`](crate::types::MarketSpec).
        AddMarket = 2 {
            /// Its number, not yet taken.
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
        /// Changes a market's fee rates for orders accepted from now on. A barrier.
        SetMarketFees = 3 {
            /// The market.
            market: MarketId,
            /// The maker's rate.
            maker_rate: FeeRate,
            /// The taker's rate.
            taker_rate: FeeRate,
        },
        /// Opens, restricts or halts one market.
        SetMarketStatus = 4 {
            /// The market.
            market: MarketId,
            /// What it accepts from now on.
            status: TradingStatus,
        },
        /// Opens, restricts or halts the whole exchange; the stricter of this and the market's status holds.
        SetGlobalStatus = 5 {
            /// What the exchange accepts from now on.
            status: TradingStatus,
        },

        /// Stops or resumes withdrawals of one asset: none is asked for or released while they are stopped.
        SetAssetWithdrawals = 6 {
            /// The asset.
            asset: AssetId,
            /// Whether they may pass.
            withdrawals: Gate,
        },
        /// Lets time pass: fires the timers that are due. An idle exchange journals one when a timer is due.
        Tick = 7 {},

        /// Creates a user account.
        CreateAccount = 10 {
            /// Its number, chosen by the operator, not yet taken.
            account: AccountId,
        },
        /// Stops an account from ordering, transferring and withdrawing; it may still cancel and deposit.
        SuspendAccount = 11 {
            /// The account.
            account: AccountId,
        },
        /// Lifts a suspension.
        ResumeAccount = 12 {
            /// The account.
            account: AccountId,
        },

        /// Registers an operator with a public key (ed25519). The first two need nobody; every later one needs two others.
        RegisterOperator = 13 {
            /// The operator's number, not yet taken.
            operator: OperatorId,
            /// The public key.
            key: Digest,
            /// One registered operator who vouches; 0 while fewer than two are registered.
            first: OperatorId,
            /// The other.
            second: OperatorId,
        },
        /// Takes an operator's rights away; needs two others.
        RevokeOperator = 14 {
            /// Whose.
            operator: OperatorId,
            /// One registered operator who vouches.
            first: OperatorId,
            /// The other.
            second: OperatorId,
        },

        /// Credits what arrived from outside.
        Deposit = 20 {
            /// Whom.
            account: AccountId,
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
            /// The arrival's own id; one that was credited before in this asset is refused.
            external_id: ExternalId,
        },
        /// Moves available balance between users.
        Transfer = 21 {
            /// The payer.
            from: AccountId,
            /// The payee.
            to: AccountId,
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
        },
        /// Asks for a withdrawal; the amount is held.
        RequestWithdrawal = 22 {
            /// Whose.
            account: AccountId,
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
        },
        /// Asks for a withdrawal of all that is available. A barrier.
        RequestWithdrawalOfAll = 23 {
            /// Whose.
            account: AccountId,
            /// What.
            asset: AssetId,
        },
        /// Takes back a withdrawal that has not been released.
        CancelWithdrawal = 24 {
            /// The owner.
            account: AccountId,
            /// Which.
            withdrawal: WithdrawalId,
        },
        /// Releases a withdrawal, before it is broadcast: from here on it is a fact. It repeats what it
        /// releases, so that it stands without the request.
        ReleaseWithdrawal = 25 {
            /// Which.
            withdrawal: WithdrawalId,
            /// The owner.
            account: AccountId,
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
        },
        /// A released withdrawal was broadcast.
        ConfirmWithdrawalSent = 26 {
            /// Which.
            withdrawal: WithdrawalId,
            /// Its id outside.
            external_id: ExternalId,
        },
        /// A sent withdrawal is final.
        ConfirmWithdrawalSettled = 27 {
            /// Which.
            withdrawal: WithdrawalId,
        },
        /// A released or sent withdrawal failed; the amount is available again.
        FailWithdrawal = 28 {
            /// Which.
            withdrawal: WithdrawalId,
        },

        /// Credits the treasury with what arrived from outside for it.
        FundTreasury = 29 {
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
            /// The arrival's own id, as for a deposit.
            external_id: ExternalId,
        },
        /// States what the exchange verifiably has of an asset outside: what liabilities are compared with.
        AttestReserves = 30 {
            /// What.
            asset: AssetId,
            /// How much.
            amount: Amount,
        },
        /// Limits what may be asked for in withdrawals of an asset within a window of time; beyond it the request is refused
        /// and the exchange trips.
        SetPayoutVelocity = 31 {
            /// The asset.
            asset: AssetId,
            /// The most in one window.
            amount_max: Amount,
            /// The window, in seconds; 0 for no limit.
            window_seconds: u32,
        },
        /// Limits airdrops of an asset; 0 is no limit.
        SetAirdropLimits = 32 {
            /// The asset.
            asset: AssetId,
            /// The most that one recipient may get from one airdrop.
            recipient_max: Amount,
            /// The most that one airdrop may pay.
            airdrop_max: Amount,
            /// The most that all airdrops of one day (UTC) may pay.
            day_max: Amount,
        },
        /// Says which preventive controls are on.
        SetControls = 33 {
            /// Those that are on.
            controls: Controls,
        },
        /// Opens the manifest of an airdrop.
        OpenAirdrop = 34 {
            /// Its number, never used before.
            airdrop: AirdropId,
            /// Who draws it up.
            author: OperatorId,
            /// What is paid.
            asset: AssetId,
            /// The sum of all lines.
            total: Amount,
            /// How many lines there will be.
            lines: u32,
            /// The hash over all lines; see [`ManifestHasher`](crate::exchange::ManifestHasher).
            hash: ManifestHash,
            /// For how many seconds after the payout what was credited stays locked; 0 for no lock.
            lock_seconds: u32,
        },
        /// Adds the next line of a manifest.
        AddAirdropLine = 35 {
            /// The airdrop.
            airdrop: AirdropId,
            /// The recipient, in no other line.
            account: AccountId,
            /// How much.
            amount: Amount,
        },
        /// Approves an airdrop whose manifest is complete.
        ApproveAirdrop = 36 {
            /// The airdrop.
            airdrop: AirdropId,
            /// Who approves: not the author.
            operator: OperatorId,
        },
        /// Pays an airdrop out.
        ExecuteAirdrop = 37 {
            /// The airdrop.
            airdrop: AirdropId,
            /// Who executes it.
            operator: OperatorId,
        },
        /// Gives up an airdrop that has not been executed.
        CancelAirdrop = 38 {
            /// The airdrop.
            airdrop: AirdropId,
            /// Who gives it up.
            operator: OperatorId,
        },
        /// Pays what an account owes from what it has available, as far as it goes. A barrier.
        SetOff = 39 {
            /// The debtor.
            account: AccountId,
            /// What.
            asset: AssetId,
        },

        /// Places a limit order.
        PlaceLimit = 40 {
            /// Whose.
            account: AccountId,
            /// Where.
            market: MarketId,
            /// Which side.
            side: Side,
            /// What happens to the part that does not trade at once.
            limit_type: LimitType,
            /// The worst price.
            price: Price,
            /// How much.
            quantity: Quantity,
            /// The owner's own name for it, or 0.
            client_order_id: ClientOrderId,
        },
        /// Buys at any price until the budget, fees included, affords no further lot.
        PlaceMarketBuy = 41 {
            /// Whose.
            account: AccountId,
            /// Where.
            market: MarketId,
            /// The most that is paid, fees included, in minor units of quote.
            budget: Amount,
            /// The owner's own name for it, or 0.
            client_order_id: ClientOrderId,
        },
        /// Sells a quantity at any price.
        PlaceMarketSell = 42 {
            /// Whose.
            account: AccountId,
            /// Where.
            market: MarketId,
            /// How much.
            quantity: Quantity,
            /// The owner's own name for it, or 0.
            client_order_id: ClientOrderId,
        },
        /// Cancels an order.
        CancelOrder = 43 {
            /// The owner.
            account: AccountId,
            /// Which.
            order: OrderId,
        },
        /// Cancels an order by the name its owner gave it.
        CancelByClientOrderId = 44 {
            /// The owner.
            account: AccountId,
            /// Which.
            client_order_id: ClientOrderId,
        },
        /// Lowers an order's open quantity to at most `quantity`; keeps its priority, needs no balance.
        ReduceOrder = 45 {
            /// The owner.
            account: AccountId,
            /// Which.
            order: OrderId,
            /// The most that may remain open, at least 1.
            quantity: Quantity,
        },
        /// Gives an open order a new price and a new open quantity. At the same price and no greater quantity
        /// it is a reduction and keeps its priority; else it loses it, is charged at the rates in force, with
        /// its fees counted from zero, and may trade at once.
        ReplaceOrder = 46 {
            /// The owner.
            account: AccountId,
            /// The order's market, which must be right.
            market: MarketId,
            /// The order's side, which must be right.
            side: Side,
            /// Which.
            order: OrderId,
            /// The new price.
            price: Price,
            /// The new open quantity.
            quantity: Quantity,
        },
        /// Cancels all of an account's orders, oldest first.
        CancelAllOfAccount = 47 {
            /// The owner.
            account: AccountId,
        },
        /// Cancels all orders of a market: bids from the best, then asks from the best, each level oldest first.
        CancelAllOfMarket = 48 {
            /// The market.
            market: MarketId,
        },

        /// Journals a part of a signed plan, ahead of the epoch that it starts. Changes no state.
        AddPlanPart = 60 {
            /// Its number, from 0.
            index: u32,
            /// How many of the bytes count: from 1 to 32, and 32 in all parts but the last.
            length: u8,
            /// The bytes.
            bytes: Digest,
        },
        /// Starts the next epoch: from here on the state is the one that the plan journaled before this leads to. Submitted by
        /// [`recovery`](crate::recovery) alone. Refused when it is not sequenced at `at`.
        StartEpoch = 61 {
            /// The sequence at which it must stand: what the new state rests on ends just before.
            at: Sequence,
            /// Binds the plan, its approvals and the new state; see [`recovery`](crate::recovery).
            digest: Digest,
        },
    }
}

const _: () = assert!(size_of::<Command>() <= 48, "commands are copied from ring to ring");

/// A command with its place in history: what the journal holds and the state machine applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequencedCommand {
    /// Its position.
    pub sequence: Sequence,
    /// When the sequencer took it.
    pub time: Timestamp,
    /// Who caused it.
    pub cause: Cause,
    /// What it asks for.
    pub command: Command,
}
