"""What redis-py does over TLS, for tests/tls_clients.rs:

    tls_clients.py PORT AUTHORITY CERTIFICATE KEY CERTIFICATE-OF-SHOP ITS-KEY

The server takes no client without a certificate. One that names no user is the default user's; that of `shop` is that
user's, who may not see the keys of others. The last line of what it prints is `all`.
"""
import sys, threading, time

import redis

port, authority, certificate, key, shop_certificate, shop_key = sys.argv[1:]
# Before version 5 it has no RESP3.
has_resp3 = int(redis.__version__.split(".")[0]) >= 5


def client(certificate=None, key=None, **more):
    return redis.Redis(host="localhost", port=int(port), ssl=True, ssl_ca_certs=authority, ssl_cert_reqs="required",
                       ssl_check_hostname=True, ssl_certfile=certificate, ssl_keyfile=key, socket_timeout=60, **more)


def run(protocol):
    more = {"protocol": protocol} if has_resp3 else {}
    try:
        client(**more).ping()
    except (redis.exceptions.ConnectionError, OSError):
        pass
    else:
        raise AssertionError("a client without a certificate is let in")

    ours = client(certificate, key, **more)
    pipeline = ours.pipeline(transaction=False)
    for n in range(5000):
        pipeline.set(f"key:{n}", n)
        pipeline.get(f"key:{n}")
    answers = pipeline.execute()
    assert answers[0::2] == [True] * 5000
    assert answers[1::2] == [b"%d" % n for n in range(5000)]

    value = bytes((n * 7919 >> 5) & 255 for n in range(5_000_000))
    ours.set("large", value)
    assert ours.get("large") == value

    # Optimistic: whoever was overtaken begins again.
    ours.set("counter", 1)

    def increment(pipeline):
        counter = int(pipeline.get("counter"))
        if counter == 1:
            client(certificate, key, **more).set("counter", 10)
        pipeline.multi()
        pipeline.set("counter", counter + 1)

    assert ours.transaction(increment, "counter") == [True]
    assert ours.get("counter") == b"11"
    ours.hset("hash", mapping={"a": 1, "b": 2})
    assert ours.hgetall("hash") == {b"a": b"1", b"b": b"2"}

    listener = ours.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("news")
    listener.psubscribe("weather.*")
    # It says nothing when it has subscribed.
    while ours.publish("news", value) < 1 or ours.publish("weather.north", "cold") < 1:
        time.sleep(0.01)
    heard = []
    while len(heard) < 2:
        message = listener.get_message(timeout=60)
        if message:
            heard.append(message["data"])
    assert heard == [value, b"cold"], [len(it) for it in heard]
    listener.close()

    jobs = []
    waiting = threading.Thread(target=lambda: jobs.append(ours.blpop("jobs", 30)))
    waiting.start()
    while ours.info("clients")["blocked_clients"] == 0:
        time.sleep(0.01)
    ours.rpush("jobs", "first")
    waiting.join()
    assert [tuple(job) for job in jobs] == [(b"jobs", b"first")], jobs

    assert ours.execute_command("ACL WHOAMI") in ("default", b"default")
    shop = client(shop_certificate, shop_key, **more)
    assert shop.execute_command("ACL WHOAMI") in ("shop", b"shop")
    assert shop.set("shop:1", "apple")
    try:
        shop.get("counter")
    except redis.exceptions.NoPermissionError:
        pass
    else:
        raise AssertionError("shop sees the keys of others")


for protocol in [2, 3] if has_resp3 else [2]:
    run(protocol)
    print(f"RESP{protocol}")
print("all")
