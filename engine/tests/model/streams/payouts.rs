//! The streams of version 2: payouts with all that guards them, and auctions.

use engine::{
    command::Command,
    types::{
        AMOUNT_MAX, AccountId, AirdropId, Amount, Controls, Digest, ExternalId, Gate, LimitType, ManifestHash,
        OperatorId, Price, Quantity, Sequence, TradingStatus,
    },
};

use super::{BTC, ETH, MARKETS, Stream, USD};
use crate::model::{
    ModelExchange, WithdrawalState,
    payouts::{Airdrop, AirdropState, manifest_hash},
};

impl Stream {
    // Payouts.

    pub(super) fn payouts(&mut self, model: &ModelExchange) {
        if model.status == TradingStatus::Frozen && self.random.one_in(6) {
            return self.push(Command::SetGlobalStatus { status: TradingStatus::Open });
        }
        if !self.lines.is_empty() && self.random.one_in(3) {
            let line = self.lines.remove(0);
            return self.push(line);
        }
        match self.random.below(100) {
            0..30 => self.random_command(model),
            30..36 => self.operators(model),
            36..46 => self.guards(model),
            46..54 => self.arrivals(model),
            54..62 => self.manifest(model),
            62..82 => self.next_step_of_airdrop(model),
            82..93 => self.payout_withdrawal(model),
            93..97 => {
                let debts: Vec<_> = model.owed.keys().copied().collect();
                let (account, asset) = if debts.is_empty() || self.random.one_in(4) {
                    (self.payee(), self.asset())
                } else {
                    self.random.pick(&debts)
                };
                self.push(Command::SetOff { account, asset });
            }
            _ => self.oddments(),
        }
    }

    fn payee(&mut self) -> AccountId {
        if self.random.one_in(40) {
            return self.random.pick(&[AccountId(0), AccountId(99), AccountId::TREASURY, AccountId::UNBACKED]);
        }
        self.user()
    }

    /// Mostly an operator with rights.
    fn operator(&mut self, model: &ModelExchange) -> OperatorId {
        let registered: Vec<_> =
            model.operators.iter().filter(|(_, found)| found.registered).map(|(&id, _)| id).collect();
        if registered.is_empty() || self.random.one_in(25) {
            return OperatorId(self.random.pick(&[0, 1, 2, 3, 9, u16::MAX]));
        }
        self.random.pick(&registered)
    }

    fn operators(&mut self, model: &ModelExchange) {
        let registered = model.operators.values().filter(|found| found.registered).count();
        let (mut first, mut second) = (self.operator(model), self.operator(model));
        if registered < 2 && !self.random.one_in(6) {
            (first, second) = (OperatorId(0), OperatorId(0));
        }
        if registered < 4 || self.random.one_in(3) {
            let next = model.operators.keys().max().map_or(1, |last| last.0.saturating_add(1));
            let operator = OperatorId(self.random.pick(&[next, next, next, 0, 1, 2]));
            let key = Digest([u8::try_from(self.random.below(256)).expect("a byte"); 32]);
            return self.push(Command::RegisterOperator { operator, key, first, second });
        }
        let operator = self.operator(model);
        self.push(Command::RevokeOperator { operator, first, second });
    }

    fn limit(&mut self) -> Amount {
        let most = self.random.pick(&[0, 0, 0, 5_000, 20_000, 60_000, AMOUNT_MAX, AMOUNT_MAX, AMOUNT_MAX + 1]);
        Amount(if self.random.one_in(30) { u64::MAX } else { most })
    }

    /// Everything that is configured.
    fn guards(&mut self, model: &ModelExchange) {
        let asset = self.asset();
        let command = match self.random.below(24) {
            0..4 => {
                let controls = Controls(self.random.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 0, 3, 7, 8, 255]));
                Command::SetControls { controls }
            }
            4..8 => {
                let withdrawals = self.random.pick(&[Gate::Open, Gate::Open, Gate::Closed]);
                Command::SetAssetWithdrawals { asset, withdrawals }
            }
            8..13 => {
                let amount_max = Amount(self.random.pick(&[0, 1, 10_000, 30_000, AMOUNT_MAX, AMOUNT_MAX + 1]));
                let window_seconds = self.random.pick(&[0, 0, 1, 60, 3_600, 86_400, u32::MAX]);
                Command::SetPayoutVelocity { asset, amount_max, window_seconds }
            }
            13..17 => {
                let (recipient_max, airdrop_max, day_max) = (self.limit(), self.limit(), self.limit());
                Command::SetAirdropLimits { asset, recipient_max, airdrop_max, day_max }
            }
            // An asset of which nothing was attested stays so for a while.
            17..22 if !model.attested.contains_key(&asset) && !self.random.one_in(8) => return,
            17..22 => {
                let liabilities = if model.assets.contains_key(&asset) { model.liabilities(asset) } else { 0 };
                let liabilities = u64::try_from(liabilities).expect("a supply fits");
                let some = liabilities.saturating_add(30_000).min(AMOUNT_MAX);
                let amount = self.random.pick(&[some, some, liabilities, liabilities / 2, 0, AMOUNT_MAX + 1]);
                Command::AttestReserves { asset, amount: Amount(amount) }
            }
            _ => {
                let status = self.random.pick(&[TradingStatus::Frozen, TradingStatus::Auction, TradingStatus::Halted]);
                match self.random.below(4) {
                    0 => Command::SetMarketStatus { market: self.market(), status },
                    _ => Command::SetGlobalStatus { status },
                }
            }
        };
        self.push(command);
    }

    fn arrivals(&mut self, model: &ModelExchange) {
        let asset = self.asset();
        if self.random.one_in(12)
            && let Some(&(asset, external_id)) = model.credited.iter().next()
        {
            let external_id = ExternalId(external_id);
            return self.push(Command::FundTreasury { asset, amount: Amount(1), external_id });
        }
        self.external_ids += 1;
        let external_id = ExternalId::from_u128(self.external_ids.wrapping_mul(0x1234_5678_9ABC_DEF1_2345));
        let odd = self.random.one_in(25);
        let amount = Amount(if odd {
            self.random.pick(&[0, AMOUNT_MAX, AMOUNT_MAX + 1])
        } else {
            self.random.between(1, 90_000)
        });
        self.push(Command::FundTreasury { asset, amount, external_id });
    }

    /// A new manifest, mostly right; its lines follow in turn with other commands.
    fn manifest(&mut self, model: &ModelExchange) {
        let pending = model.airdrops.values().filter(|airdrop| airdrop.is_pending()).count();
        if pending > 3 {
            return;
        }
        let asset = self.asset();
        let count = self.random.between(1, self.users.len() as u64);
        let mut recipients = self.users.clone();
        let mut lines = Vec::new();
        for _ in 0..count {
            let at = usize::try_from(self.random.below(recipients.len() as u64)).expect("an index");
            let most = self.random.pick(&[10, 4_000, 9_000]);
            lines.push((recipients.remove(at), u128::from(self.random.between(1, most))));
        }
        // Far more than there can be, or just what fits.
        if self.random.one_in(8) {
            let room = AMOUNT_MAX
                - u64::try_from(model.assets.get(&asset).map_or(0, |_| model.liabilities(asset)))
                    .expect("a supply fits");
            let amount = self.random.pick(&[room, room, room / 3, AMOUNT_MAX, AMOUNT_MAX / 2 + 1]);
            lines = vec![(lines[0].0, u128::from(amount.max(1)))];
        }
        let sum: u128 = lines.iter().map(|(_, amount)| amount).sum();
        let mut total = Amount(u64::try_from(sum).expect("a sum fits"));
        let mut hash = manifest_hash(asset, &lines);
        let mut announced = u32::try_from(lines.len()).expect("few lines");
        match self.random.below(40) {
            0 => total = Amount(total.0 + 1),
            1 => total = Amount(self.random.pick(&[0, AMOUNT_MAX + 1, u64::MAX])),
            2 => hash = ManifestHash([7; 16]),
            3 => announced = self.random.pick(&[0, 1, announced + 1, 1_000_001, u32::MAX]),
            4 => lines.rotate_left(1),
            5 => lines[0].0 = lines[lines.len() - 1].0,
            _ => {}
        }
        let next = model.airdrops.keys().max().map_or(1, |last| last.0.saturating_add(1));
        let airdrop = AirdropId(if self.random.one_in(15) { self.random.pick(&[0, 1, next]) } else { next });
        let author = self.operator(model);
        let lock_seconds = self.random.pick(&[0, 0, 0, 1, 5, 60, 3_600, 100_000, u32::MAX]);
        self.push(Command::OpenAirdrop { airdrop, author, asset, total, lines: announced, hash, lock_seconds });
        for (account, amount) in lines {
            let amount = Amount(u64::try_from(amount).expect("an amount fits"));
            let line = Command::AddAirdropLine { airdrop, account, amount };
            self.lines.push(line);
            if self.random.one_in(60) {
                self.lines.push(line);
            }
        }
        if self.random.one_in(2) {
            let lines = std::mem::take(&mut self.lines);
            self.queue.extend(lines);
        }
    }

    /// A step of one of the latest airdrops, mostly one that is possible.
    fn next_step_of_airdrop(&mut self, model: &ModelExchange) {
        let pending: Vec<_> =
            model.airdrops.iter().filter(|(_, found)| found.is_pending()).map(|(&id, found)| (id, found)).collect();
        let any = usize::try_from(self.random.below(8)).expect("the count fits");
        let found: Option<(AirdropId, &Airdrop)> = match pending.len() {
            0 => model.airdrops.iter().rev().nth(any).map(|(&id, found)| (id, found)),
            _ if self.random.one_in(10) => model.airdrops.iter().rev().nth(any).map(|(&id, found)| (id, found)),
            count => Some(pending[any % count]),
        };
        let Some((mut airdrop, found)) = found else { return };
        if self.random.one_in(50) {
            airdrop = AirdropId(self.random.pick(&[0, airdrop.0.saturating_add(1), u32::MAX]));
        }
        let operator = self.operator(model);
        match self.random.below(20) {
            0 => self.push(Command::CancelAirdrop { airdrop, operator }),
            1 => {
                let account = self.payee();
                let amount = Amount(self.random.pick(&[0, 1, 50, AMOUNT_MAX + 1]));
                self.push(Command::AddAirdropLine { airdrop, account, amount });
            }
            2..9 if found.state != AirdropState::Approved => self.push(Command::ApproveAirdrop { airdrop, operator }),
            2 => self.push(Command::ApproveAirdrop { airdrop, operator }),
            _ => {
                // What is needed for it comes first, most of the time.
                let total = u64::try_from(found.total).expect("a total fits");
                let asset = found.asset;
                if self.random.one_in(if model.attested.contains_key(&asset) { 2 } else { 6 }) {
                    let liabilities = u64::try_from(model.liabilities(asset)).expect("a supply fits");
                    let amount = liabilities.saturating_add(total).saturating_add(total).min(AMOUNT_MAX);
                    self.push(Command::AttestReserves { asset, amount: Amount(amount) });
                }
                if self.random.one_in(2) {
                    self.external_ids += 1;
                    let external_id = ExternalId::from_u128(self.external_ids.wrapping_mul(0x77_1234_5678));
                    self.push(Command::FundTreasury { asset, amount: Amount(total), external_id });
                }
                self.push(Command::ExecuteAirdrop { airdrop, operator });
            }
        }
    }

    fn payout_withdrawal(&mut self, model: &ModelExchange) {
        if self.random.one_in(2) {
            return self.next_step_of_withdrawal(model);
        }
        let (account, asset) = (self.user(), self.asset());
        if self.random.one_in(4) {
            return self.push(Command::RequestWithdrawalOfAll { account, asset });
        }
        let available = u64::try_from(model.balance(account, asset).available).expect("a balance fits");
        let some = self.random.between(1, 12_000);
        let amount = Amount(self.random.pick(&[some, some, available, available + 1]));
        self.push(Command::RequestWithdrawal { account, asset, amount });
        let unreleased = model.withdrawals.iter().rev().find(|(_, found)| found.state == WithdrawalState::Requested);
        if let Some((&withdrawal, found)) = unreleased
            && self.random.one_in(3)
        {
            let amount = Amount(u64::try_from(found.amount).expect("an amount fits"));
            let (account, asset) = (found.account, found.asset);
            self.push(Command::ReleaseWithdrawal { withdrawal, account, asset, amount });
        }
    }

    fn oddments(&mut self) {
        let bytes = Digest([9; 32]);
        let command = match self.random.below(6) {
            0..3 => Command::Tick {},
            3 | 4 => {
                let length = self.random.pick(&[0, 1, 31, 32, 33, u8::MAX]);
                Command::AddPlanPart { index: 3, length, bytes }
            }
            // Never where it stands.
            _ => Command::StartEpoch { at: Sequence(self.random.pick(&[0, u64::MAX])), digest: bytes },
        };
        self.push(command);
    }

    // Auctions.

    /// Books that grow crossed while nothing trades, and are uncrossed.
    pub(super) fn auctions(&mut self, model: &ModelExchange) {
        self.top_up(model, 200_000);
        let market = self.random.pick(&MARKETS);
        let collecting = self.random.one_in(2);
        if collecting {
            let global = self.random.one_in(3);
            let status = TradingStatus::Auction;
            self.push(if global {
                Command::SetGlobalStatus { status }
            } else {
                Command::SetMarketStatus { market, status }
            });
        }
        let (spread, most) = (self.random.pick(&[1, 3, 8]), self.random.pick(&[1, 4, 40]));
        for _ in 0..self.random.between(1, 25) {
            let (account, side) = (self.user(), self.side());
            let market = if self.random.one_in(5) { self.random.pick(&MARKETS) } else { market };
            let price = 100 + self.random.below(2 * spread) - spread;
            let quantity = self.random.between(1, most);
            match self.random.below(20) {
                0 => {
                    let client_order_id = self.client_order_id();
                    let budget = Amount(self.random.between(1, 9_000));
                    self.push(Command::PlaceMarketBuy { account, market, budget, client_order_id });
                }
                1 => {
                    let client_order_id = self.client_order_id();
                    let quantity = Quantity(quantity);
                    self.push(Command::PlaceMarketSell { account, market, quantity, client_order_id });
                }
                2..4 => {
                    let limit_type = self.random.pick(&[LimitType::ImmediateOrCancel, LimitType::FillOrKill]);
                    self.place_limit(account, market, side, limit_type, (price, quantity));
                }
                4..7 => self.place_limit(account, market, side, LimitType::PostOnly, (price, quantity)),
                7..9 => self.change_in_auction(model),
                _ => self.place_limit(account, market, side, LimitType::GoodTillCancel, (price, quantity)),
            }
        }
        if self.random.one_in(12) {
            let (maker_rate, taker_rate) = self.rates();
            self.push(Command::SetMarketFees { market, maker_rate, taker_rate });
        }
        // By way of another status, now and then.
        if self.random.one_in(4) {
            let status = self.random.pick(&[
                TradingStatus::CancelOnly,
                TradingStatus::Halted,
                TradingStatus::Frozen,
                TradingStatus::Auction,
            ]);
            self.push(Command::SetGlobalStatus { status });
            self.change_in_auction(model);
        }
        if !self.random.one_in(4) {
            self.push(Command::SetGlobalStatus { status: TradingStatus::Open });
        }
        if !self.random.one_in(4) {
            self.push(Command::SetMarketStatus { market, status: TradingStatus::Open });
        }
        // Some spend at once what they hope to have got.
        for _ in 0..self.random.below(4) {
            let (from, asset) = (self.user(), self.random.pick(&[BTC, USD, ETH]));
            let to = self.user();
            let available = u64::try_from(model.balance(from, asset).available).expect("a balance fits");
            let amount = Amount(available + self.random.between(1, 2_000));
            self.push(Command::Transfer { from, to, asset, amount });
        }
    }

    fn change_in_auction(&mut self, model: &ModelExchange) {
        let Some((market, order)) = self.open_order(model) else { return };
        let (account, side, id) = (order.account, order.side, order.id);
        let quantity = Quantity(self.random.between(1, 30));
        let price = Price(self.random.between(92, 108));
        let command = match self.random.below(5) {
            0 => Command::CancelOrder { account, order: id },
            1 => Command::ReduceOrder { account, order: id, quantity },
            _ => Command::ReplaceOrder { account, market, side, order: id, price, quantity },
        };
        self.push(command);
    }
}
