"""tinynn: a modular neural-network framework on NumPy, without autograd."""

from tinynn.modules import *
from tinynn.errors import *
from tinynn.parameter import Parameter
from tinynn.random import manual_seed
