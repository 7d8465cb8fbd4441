# A Modbus/TCP server of the library pyModbusTCP, whose holding registers 0 to 199 hold their own numbers.
import sys
import threading

from pyModbusTCP.server import ModbusServer

server = ModbusServer("127.0.0.1", int(sys.argv[1]), no_block=True)
server.start()
server.data_bank.set_holding_registers(0, list(range(200)))
print("listening")
threading.Event().wait()
