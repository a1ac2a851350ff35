"""What server and nodes agree on; part of the app, and checked by each node against its own policy."""

from fedpriv.flower import PrivateSumPlan

PLAN = PrivateSumPlan(
    session="private mean",
    clients=4,
    min_survivors=3,
    max_colluders=1,
    vectors={"values": 50, "squares": 50},
    clip=1.0,
    noise_multiplier=4.0,
    rounds=2,
)
