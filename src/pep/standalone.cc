// SPDX-License-Identifier: Apache-2.0
#include "pep/standalone.h"

#include <string.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "base/log.h"
#include "base/printable.h"
#include "source/secret_source.h"
#include "sys/files.h"

namespace pinhole::pep {

void read_values(secret::Vault& vault) {
  for (const secret::Secret& secret : vault.secrets()) {
    auto value = source::read_secret({.name = secret.name, .from = secret.from});
    if (!value) {
      log(LogLevel::warning, "{}", printable(value.error().message));
      continue;
    }
    const auto kept = vault.set_value(secret.name, *value);
    ::explicit_bzero(value->data(), value->size());
    if (!kept) log(LogLevel::warning, "{}", printable(kept.error().message));
  }
}

Result<void> write_placeholders(const secret::Vault& vault, const std::filesystem::path& file) {
  boost::json::object names;
  for (const secret::Secret& secret : vault.secrets()) names[secret.name] = secret.placeholder;
  auto written = sys::write_file_atomic(file, boost::json::serialize(names) + "\n");
  if (!written) return fail(std::move(written).error().context("--placeholders"));
  return {};
}

}  // namespace pinhole::pep
