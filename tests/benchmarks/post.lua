-- One POST, the same every time, for wrk; its parts come by environment. Ends by writing wrk's figures as one line of JSON,
-- since wrk's own summary rounds latencies.

local function file(path)
  local handle = assert(io.open(path, "rb"))
  local text = handle:read("*a")
  handle:close()
  return text
end

wrk.method = "POST"
wrk.body = file(os.getenv("BENCH_BODY"))
wrk.headers["Content-Type"] = os.getenv("BENCH_CONTENT_TYPE")
wrk.headers["Authorization"] = os.getenv("BENCH_AUTHORIZATION")

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d, ' ..
    '"p50": %d, "p99": %d}\n',
    summary.requests, summary.duration, errors.connect, errors.read, errors.write, errors.timeout, errors.status,
    latency:percentile(50), latency:percentile(99)))
end
