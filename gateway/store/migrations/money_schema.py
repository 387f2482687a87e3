"""The tables of revision 0002: entries that balance and are chained, their sums, budgets, keys, answers, leases."""

from __future__ import annotations

#: To be spelt for the database; see `spelling.py`.
SCHEMA = (
    """CREATE TABLE api_keys (
    id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at {whole} NOT NULL,
    expires_at {whole},
    revoked_at {whole},
    replaces TEXT,
    requests_per_second TEXT,
    burst {whole},
    concurrency {whole},
    PRIMARY KEY (id),
    CONSTRAINT api_keys_scoped CHECK (scopes <> ''),
    UNIQUE (sha256)
){strict}""",
    "CREATE INDEX api_keys_of_tenant ON api_keys (tenant)",
    """CREATE TABLE budgets (
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    tenant TEXT NOT NULL,
    scope TEXT NOT NULL,
    subject TEXT NOT NULL,
    period TEXT NOT NULL,
    limit_microusd {whole} NOT NULL,
    hard {whole} NOT NULL,
    created_at {whole} NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT budgets_once UNIQUE (account, period, hard),
    CONSTRAINT budgets_scope CHECK (scope IN ('tenant', 'key', 'tag')),
    CONSTRAINT budgets_period CHECK (period IN ('total', 'day', 'month')),
    CONSTRAINT budgets_limit CHECK (limit_microusd > 0),
    CONSTRAINT budgets_hard CHECK (hard IN (0, 1))
){strict}""",
    "CREATE INDEX budgets_of_account ON budgets (account)",
    """CREATE TABLE entries (
    id {number},
    attempt_id TEXT NOT NULL,
    phase {whole} NOT NULL,
    kind TEXT NOT NULL,
    amount_microusd {whole} NOT NULL,
    cost_microusd {whole} NOT NULL,
    reported_microusd {whole},
    upstream_ref TEXT,
    reason TEXT,
    at {whole} NOT NULL,
    available_microusd {whole} NOT NULL,
    reserved_microusd {whole} NOT NULL,
    held_microusd {whole} NOT NULL,
    payable_microusd {whole} NOT NULL,
    margin_microusd {whole} NOT NULL,
    request_id TEXT,
    prompt_index {whole},
    tenant TEXT,
    key_id TEXT,
    deployment TEXT,
    provider TEXT,
    model TEXT,
    region TEXT,
    price_id TEXT,
    expires_at {whole},
    tags TEXT,
    writer TEXT NOT NULL,
    sequence {whole} NOT NULL,
    chain TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT entries_once_a_phase UNIQUE (attempt_id, phase),
    CONSTRAINT entries_once_in_chain UNIQUE (writer, sequence),
    CONSTRAINT entries_kind_in_phase CHECK ((phase = 0 AND kind IN ('reserve', 'import')) OR (phase = 1 AND
        kind IN ('settle', 'release', 'hold')) OR (phase = 2 AND kind IN ('settle', 'release')) OR (phase >= 3
        AND kind = 'correct')),
    CONSTRAINT entries_not_negative CHECK (kind = 'correct' OR (amount_microusd >= 0 AND cost_microusd >= 0)),
    CONSTRAINT entries_reported_not_negative CHECK (reported_microusd IS NULL OR reported_microusd >= 0),
    CONSTRAINT entries_owe_when_settled_or_held CHECK ((kind <> 'release' OR amount_microusd = 0) AND (kind
        NOT IN ('reserve', 'release') OR cost_microusd = 0) AND (kind <> 'import' OR amount_microusd = 0)),
    CONSTRAINT entries_reason_when_not_settled CHECK ((kind IN ('release', 'hold', 'correct', 'import')) =
        (reason IS NOT NULL)),
    CONSTRAINT entries_balance CHECK (available_microusd + reserved_microusd + held_microusd +
        payable_microusd + margin_microusd = 0),
    CONSTRAINT entries_move_as_their_kind_says CHECK (CASE kind WHEN 'reserve' THEN reserved_microusd =
        amount_microusd AND held_microusd = 0 AND payable_microusd = 0 AND margin_microusd = 0 WHEN 'hold'
        THEN held_microusd = amount_microusd AND reserved_microusd = -amount_microusd AND payable_microusd = 0
        AND margin_microusd = 0 WHEN 'settle' THEN payable_microusd = cost_microusd AND payable_microusd +
        margin_microusd = amount_microusd AND available_microusd >= 0 AND reserved_microusd <= 0 AND
        held_microusd <= 0 WHEN 'release' THEN payable_microusd = 0 AND margin_microusd = 0 AND
        reserved_microusd <= 0 AND held_microusd <= 0 ELSE reserved_microusd = 0 AND held_microusd = 0 AND
        payable_microusd = cost_microusd AND payable_microusd + margin_microusd = amount_microusd END),
    CONSTRAINT entries_move_in_phase CHECK (phase = 0 OR (phase = 1 AND (held_microusd = 0 OR kind = 'hold'))
        OR (phase >= 2 AND reserved_microusd = 0)),
    CONSTRAINT entries_identity_once CHECK ((phase = 0 AND request_id IS NOT NULL AND prompt_index >= 0 AND
        tenant IS NOT NULL AND key_id IS NOT NULL AND deployment IS NOT NULL AND provider IS NOT NULL AND
        model IS NOT NULL AND region IS NOT NULL AND price_id IS NOT NULL AND expires_at IS NOT NULL AND tags
        IS NOT NULL) OR (phase > 0 AND request_id IS NULL AND prompt_index IS NULL AND tenant IS NULL AND
        key_id IS NULL AND deployment IS NULL AND provider IS NULL AND model IS NULL AND region IS NULL AND
        price_id IS NULL AND expires_at IS NULL AND tags IS NULL))
){strict}""",
    "CREATE INDEX entries_held ON entries (id) WHERE phase = 1 AND kind = 'hold'",
    "CREATE INDEX entries_of_tenant ON entries (tenant, at) WHERE phase = 0",
    "CREATE INDEX entries_opened_at ON entries (at) WHERE phase = 0",
    """CREATE TABLE leases (
    name TEXT NOT NULL,
    holder TEXT NOT NULL,
    token {whole} NOT NULL,
    expires_at {whole} NOT NULL,
    PRIMARY KEY (name)
){strict}""",
    """CREATE TABLE remembered_answers (
    tenant TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    request_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    started_at {whole} NOT NULL,
    lease_until {whole} NOT NULL,
    expires_at {whole} NOT NULL,
    status {whole},
    headers TEXT,
    body {bytes},
    PRIMARY KEY (tenant, idempotency_key)
){strict}""",
    "CREATE INDEX remembered_answers_expire ON remembered_answers (expires_at)",
    """CREATE TABLE secrets (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name)
){strict}""",
    """CREATE TABLE usage_lines (
    writer TEXT NOT NULL,
    line TEXT NOT NULL,
    day {whole} NOT NULL,
    tenant TEXT NOT NULL,
    key_id TEXT NOT NULL,
    deployment TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    region TEXT NOT NULL,
    tags TEXT NOT NULL,
    attempts {whole} NOT NULL,
    settled {whole} NOT NULL,
    released {whole} NOT NULL,
    held {whole} NOT NULL,
    open {whole} NOT NULL,
    charged_microusd {whole} NOT NULL,
    cost_microusd {whole} NOT NULL,
    held_microusd {whole} NOT NULL,
    open_microusd {whole} NOT NULL,
    PRIMARY KEY (writer, line)
){strict}""",
    "CREATE INDEX usage_lines_of_day ON usage_lines (day)",
    "CREATE INDEX usage_lines_of_tenant ON usage_lines (tenant, day)",
    """CREATE TABLE budget_windows (
    budget_id TEXT NOT NULL,
    starts_at {whole} NOT NULL,
    hard {whole} NOT NULL,
    limit_microusd {whole} NOT NULL,
    allowed_microusd {whole} NOT NULL,
    spent_microusd {whole} NOT NULL,
    reserved_microusd {whole} NOT NULL,
    PRIMARY KEY (budget_id, starts_at),
    CONSTRAINT budget_windows_never_passed CHECK (hard = 0 OR spent_microusd + reserved_microusd <=
        allowed_microusd),
    CONSTRAINT budget_windows_not_negative CHECK (spent_microusd >= 0 AND reserved_microusd >= 0),
    CONSTRAINT budget_windows_allowed CHECK (allowed_microusd >= limit_microusd),
    FOREIGN KEY(budget_id) REFERENCES budgets (id)
){strict}""",
)
