// SPDX-License-Identifier: Apache-2.0
// The probes of a ProbeRequest as JSON: {"probe":"connect","address":…}. Part of wire/operation.h's
// format.
#pragma once

#include <boost/json/object.hpp>

#include "wire/operation.h"

namespace pinhole::wire {

boost::json::object write_probe(const Probe& probe);
Result<Probe> read_probe(const boost::json::object& object);

}  // namespace pinhole::wire
