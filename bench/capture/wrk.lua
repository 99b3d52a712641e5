-- Posts the lines of the file BODIES to /score in turn, and says in one line of JSON what came of it.
local bodies, at = {}, 0

function init()
    for line in io.lines(os.getenv("BODIES")) do
        bodies[#bodies + 1] = wrk.format("POST", "/score", { ["Content-Type"] = "application/json" }, line)
    end
end

function request()
    at = at % #bodies + 1
    return bodies[at]
end

function done(summary, latency)
    local e = summary.errors
    print(string.format('{"requests":%d,"us":%d,"p50":%f,"p99":%f,"errors":%d}', summary.requests,
        summary.duration, latency:percentile(50), latency:percentile(99),
        e.connect + e.read + e.write + e.status + e.timeout))
end
