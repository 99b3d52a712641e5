def find_refusals(spec, policy):
    return ()
