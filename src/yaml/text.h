// SPDX-License-Identifier: Apache-2.0
// The text under a document, before it is YAML.
#pragma once

#include "yaml/yaml.h"

namespace pinhole::yaml {

/// Refuses what is not UTF-8 text and what a reader of the file would not see.
Result<void> check_characters(const Document& document);

}  // namespace pinhole::yaml
