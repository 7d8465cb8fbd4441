# A client of MQTT over WebSocket, of the library paho. It subscribes to a topic, sends payloads of these lengths to it, and prints the
# lengths of what comes back.
import sys

import paho.mqtt.client as mqtt

port, *lengths = map(int, sys.argv[1:])
came = []


def on_connect(client, *_):
    client.subscribe("sea", 1)


def on_subscribe(client, *_):
    for length in lengths:
        client.publish("sea", b"x" * length, 1)


def on_message(client, _, message):
    came.append(len(message.payload))
    if len(came) == len(lengths):
        client.disconnect()


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, transport="websockets")
client.ws_set_options(path="/")
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.connect("127.0.0.1", port)
client.loop_forever(retry_first_connection=False)
print(*came)
