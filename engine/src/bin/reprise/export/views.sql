CREATE INDEX ledger_entries_account ON ledger_entries (account, asset, sequence);
CREATE INDEX ledger_entries_sequence ON ledger_entries (sequence);
CREATE INDEX orders_account ON orders (account);
CREATE INDEX fills_market ON fills (market, sequence);
CREATE INDEX fills_taker ON fills (taker_account);
CREATE INDEX fills_maker ON fills (maker_account);
CREATE INDEX commands_account ON commands (account);
CREATE INDEX commands_kind ON commands (kind);

-- Double entry: total must be 0 for every asset. Summed in two halves, since large amounts in any order may pass 64 bits on
-- the way.
CREATE VIEW v_ledger_check AS
    SELECT symbol, count(delta) AS entries, 
        coalesce(sum(delta >> 32) * 4294967296 + sum(delta & 4294967295), 0) AS total
    FROM assets LEFT JOIN ledger_entries USING (asset) GROUP BY asset;
-- Every movement of every account, oldest first: filter by account.
CREATE VIEW v_account_statement AS
    SELECT e.account, e.sequence, datetime(c.time_ns / 1000000000, 'unixepoch') AS time, c.kind, c.cause, a.symbol,
        e.bucket, e.delta, 1.0 * e.delta / a.unit AS amount, c.text
    FROM ledger_entries e JOIN assets a USING (asset) JOIN commands c USING (sequence) ORDER BY e.sequence, e.event;
CREATE VIEW v_fees_by_market AS
    SELECT m.name AS market, a.symbol, count(*) AS fills, sum(f.taker_fee) AS taker_fees, sum(f.maker_fee) AS maker_fees,
        sum(f.taker_fee + f.maker_fee) AS fees, 1.0 * sum(f.taker_fee + f.maker_fee) / a.unit AS amount
    FROM fills f JOIN markets m USING (market) JOIN assets a ON a.asset = m.quote WHERE f.void_since_epoch IS NULL GROUP BY f.market;
CREATE VIEW v_top_balances AS
    SELECT a.symbol, b.account, b.available + b.held AS total, 1.0 * (b.available + b.held) / a.unit AS amount,
        rank() OVER (PARTITION BY b.asset ORDER BY b.available + b.held DESC) AS rank
    FROM balances b JOIN assets a USING (asset) JOIN accounts c USING (account) WHERE c.kind = 'user';
CREATE VIEW v_deposits_withdrawals AS
    SELECT e.account, a.symbol, e.sequence, datetime(c.time_ns / 1000000000, 'unixepoch') AS time, c.kind, e.delta,
        1.0 * e.delta / a.unit AS amount
    FROM ledger_entries e JOIN assets a USING (asset) JOIN commands c USING (sequence)
    WHERE c.kind IN ('Deposit', 'ReleaseWithdrawal', 'FailWithdrawal') AND e.bucket <> 'system' ORDER BY e.sequence;

-- What each new epoch corrected: added to balances, by account.
CREATE VIEW v_epoch_corrections AS
    SELECT e.sequence, datetime(c.time_ns / 1000000000, 'unixepoch') AS time, e.account, a.symbol,
        sum(e.delta >> 32) * 4294967296 + sum(e.delta & 4294967295) AS delta, total(e.delta) / a.unit AS amount
    FROM ledger_entries e JOIN assets a USING (asset) JOIN commands c USING (sequence)
    WHERE c.kind = 'StartEpoch' GROUP BY e.sequence, e.account, e.asset;
