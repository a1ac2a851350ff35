"""The checks of a verification, one file for each thing that is held against something else.

``envelope``     who signed a bundle
``outside``      what the caller knows from elsewhere: signer, head, adapter
``ledger``       chain, signatures, budget rule, claims, data set
``derivation``   what follows from a plan's own parameters
``plan``         plan.json against that and against the PLAN row; the digests that this row holds
``rounds``       rounds.jsonl against the RELEASE rows
``epsilons``     every stated ε against the one recomputed
``result``       result.json against ledger, plan and rounds
``adapter``      the adapter's files against the FINISH row
``report``       report.json and report.html against themselves made again

``agreement`` is how all of them compare.  Each is a function of what was read before.  The numbers of the
clauses are those of ``protocols/report/spec.md``, sections 4 and 7.
"""
