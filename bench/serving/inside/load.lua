-- Asks with the bodies of a file, one a line, in turn; says what came of it as one line of JSON.
local asked, turn = {}, 0

function init(args)
  wrk.headers["Content-Type"] = "application/json"
  for body in io.lines(args[1]) do
    asked[#asked + 1] = wrk.format("POST", nil, nil, body)
  end
end

function request()
  turn = turn % #asked + 1
  return asked[turn]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"microseconds":%d,"p50":%g,"p99":%g,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
