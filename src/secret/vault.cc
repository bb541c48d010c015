// SPDX-License-Identifier: Apache-2.0
#include "secret/vault.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"
#include "base/printable.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "secret/encoding.h"

namespace pinhole::secret {
namespace {

constexpr std::size_t kShortestSeed = 16;
constexpr std::string_view kBlocked = "secret_blocked";
constexpr std::string_view kMissing = "secret_missing";
constexpr std::string_view kAuthorization = "authorization";

void add_once(std::vector<std::string>& names, const std::string& name) {
  if (std::ranges::find(names, name) == names.end()) names.push_back(name);
}

bool contains(std::span<const std::string> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

/// How often the piece stands there that some beginning of `value` repeats, at most.
std::size_t most_repeats(std::string_view value) {
  // For each beginning, the longest of its own ends that it begins with (Knuth, Morris, Pratt).
  std::vector<std::size_t> border(value.size() + 1, 0);
  std::size_t most = 1;
  for (std::size_t length = 2; length <= value.size(); ++length) {
    std::size_t end = border[length - 1];
    while (end > 0 && value[end] != value[length - 1]) end = border[end];
    if (value[end] == value[length - 1]) ++end;
    border[length] = end;
    most = std::max(most, length / (length - end));
  }
  return most;
}

/// The credentials of "Basic <credentials>" (RFC 7617), if that is what it is.
std::optional<std::string_view> basic_credentials(std::string_view value) {
  constexpr std::string_view kScheme = "basic";
  if (value.size() <= kScheme.size() || value[kScheme.size()] != ' ' ||
      !http::iequals(value.substr(0, kScheme.size()), kScheme)) {
    return std::nullopt;
  }
  return trim(value.substr(kScheme.size()));
}

}  // namespace

std::string make_placeholder(std::string_view prefix, std::string_view seed,
                             std::string_view name) {
  PINHOLE_CHECK(seed.size() >= kShortestSeed);
  Sha256 hash;
  hash.update(std::string_view("pinhole placeholder\n"));
  hash.update(seed);
  hash.update("\n");
  hash.update(name);
  const Sha256Digest digest = hash.finish();
  std::string text = std::string(prefix) + std::string(kPlaceholderMark);
  std::uint32_t bits = 0;
  int count = 0;
  for (std::size_t i = 0, digits = 0; digits < kPlaceholderDigits; ++digits) {
    if (count < 5) {
      bits = bits << 8 | digest[i++];
      count += 8;
    }
    count -= 5;
    text += "abcdefghijklmnopqrstuvwxyz234567"[bits >> count & 31];
  }
  return text;
}

std::optional<std::string> value_fault(std::string_view value) {
  if (value.size() < kShortestValue) {
    return fmt::format(
        "it is shorter than {} characters, and would be found in texts that have "
        "nothing to do with it",
        kShortestValue);
  }
  if (value.size() > kLongestValue) return fmt::format("it is longer than {} bytes", kLongestValue);
  if (std::ranges::any_of(value, [](char c) { return c < ' ' || c > '~'; })) {
    return "it has a character that is not printable ASCII";
  }
  if (value.starts_with(' ') || value.ends_with(' ')) return "it begins or ends with a blank";
  if (most_repeats(value) > kMostRepeats) {
    return fmt::format(
        "it begins with the same characters more than {} times, which no random "
        "value does",
        kMostRepeats);
  }
  return std::nullopt;
}

BodyForm body_form(std::string_view content_type) {
  const std::string type = to_lower(trim(content_type.substr(0, content_type.find(';'))));
  if (type == "application/json" || type.ends_with("+json")) return BodyForm::json;
  return type == "application/x-www-form-urlencoded" ? BodyForm::form : BodyForm::raw;
}

std::optional<std::size_t> Vault::index_of(std::string_view name) const {
  const auto found = std::ranges::find(secrets_, name, &Secret::name);
  if (found == secrets_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - secrets_.begin());
}

Result<void> Vault::add(Secret secret) {
  constexpr std::size_t kTail = kPlaceholderMark.size() + kPlaceholderDigits;
  if (secrets_.size() >= kMostSecrets) return fail("there are more than {} secrets", kMostSecrets);
  if (index_of(secret.name)) return fail("there are two secrets {}", secret.name);
  PINHOLE_CHECK(secret.placeholder.size() >= kTail);
  const std::size_t digits = secret.placeholder.size() - kPlaceholderDigits;
  if (!by_digits_.emplace(secret.placeholder.substr(digits), secrets_.size()).second)
    return fail("the placeholder of {} is another's too", secret.name);
  secrets_.push_back(std::move(secret));
  values_.emplace_back();
  return {};
}

Result<void> Vault::set_value(std::string_view name, std::string_view value) {
  const auto index = index_of(name);
  if (!index) return fail("no policy file defines a secret {}", printable(name, 80));
  Value& kept = values_[*index];
  const auto problem = value_fault(value);
  kept.problem = problem.value_or("");
  kept.bytes = problem ? WipedBytes() : WipedBytes(value.begin(), value.end());
  make_masks();
  if (problem) return fail("the value of the secret {} cannot be used: {}", name, *problem);
  return {};
}

void Vault::take_values(const Vault& other) {
  for (std::size_t i = 0; i < secrets_.size(); ++i) {
    const auto index = other.index_of(secrets_[i].name);
    if (index && other.secrets_[*index].from == secrets_[i].from)
      values_[i] = other.values_[*index];
  }
  make_masks();
}

void Vault::make_masks() {
  std::vector<MaskTable::Entry> entries;
  for (std::size_t i = 0; i < secrets_.size(); ++i) {
    if (values_[i].bytes.empty()) continue;
    entries.push_back({.value = values_[i].text(), .placeholder = secrets_[i].placeholder});
  }
  masks_ = entries.empty() ? nullptr : std::make_shared<const MaskTable>(entries);
}

bool Vault::has_value(std::string_view name) const {
  const auto index = index_of(name);
  return index && !values_[*index].bytes.empty();
}

std::optional<Vault::Found> Vault::find(std::string_view text, std::size_t from) const {
  for (std::size_t at = text.find(kPlaceholderMark, from); at != std::string_view::npos;
       at = text.find(kPlaceholderMark, at + 1)) {
    const std::size_t digits = at + kPlaceholderMark.size();
    if (text.size() - digits < kPlaceholderDigits) return std::nullopt;
    const auto found = by_digits_.find(text.substr(digits, kPlaceholderDigits));
    if (found == by_digits_.end()) continue;
    const std::string& placeholder = secrets_[found->second].placeholder;
    const std::size_t before = placeholder.size() - kPlaceholderDigits - kPlaceholderMark.size();
    if (at - from < before) continue;
    if (text.substr(at - before).starts_with(placeholder))
      return Found{.secret = found->second, .at = at - before};
  }
  return std::nullopt;
}

/// One request: texts one after the other, until one may not go.
class Vault::Rewriting {
 public:
  Rewriting(const Vault& vault, const Route& route) : vault_(vault), route_(route) {}

  /// `header` is the name of the one that `text` stands in, or empty, with `place` for people.
  bool replace(std::string& text, std::string_view header, std::string_view place, bool in_query) {
    std::size_t from = 0;
    while (const auto found = vault_.find(text, from)) {
      const Secret& secret = vault_.secrets_[found->secret];
      const Value& value = vault_.values_[found->secret];
      const bool fits =
          in_query ? secret.in_query : !header.empty() && http::iequals(header, secret.header);
      if (!may_go(secret) || !is_in_place(secret, fits, place) || !is_there(secret, value))
        return false;
      const std::string spelled =
          in_query ? percent_encode(value.text()) : std::string(value.text());
      text.replace(found->at, secret.placeholder.size(), spelled);
      from = found->at + spelled.size();
      add_once(used, secret.name);
    }
    return true;
  }

  bool replace_in_header(http::Header& header) {
    const std::string place = "the header " + to_lower(header.name);
    if (http::iequals(header.name, kAuthorization)) {
      if (const auto encoded = basic_credentials(header.value)) {
        auto credentials = base64_decode(*encoded);
        if (credentials && vault_.find(*credentials, 0)) {
          if (!replace(*credentials, header.name, place, false)) return false;
          header.value = "Basic " + base64_encode(*credentials);
          explicit_bzero(credentials->data(), credentials->size());
          return true;
        }
      }
    }
    return replace(header.value, header.name, place, false);
  }

  std::vector<std::string> used;
  Refusal refusal;

 private:
  bool refuse(std::string_view code, std::string detail, std::string fix) {
    refusal = {.code = code, .detail = std::move(detail), .fix = std::move(fix)};
    return false;
  }

  bool may_go(const Secret& secret) {
    if (!contains(route_.allowed, secret.name)) {
      return refuse(
          kBlocked, fmt::format("the secret {} may not go to {}", secret.name, route_.host),
          fmt::format("add {} to the hosts of {} in your own policy file, and to the rule "
                      "if it lists secrets",
                      route_.host, secret.name));
    }
    if (!route_.verified_tls) {
      return refuse(
          kBlocked,
          fmt::format("the secret {} goes out over https only, to a verified server", secret.name),
          fmt::format("ask https://{}", route_.host));
    }
    if (route_.method == "TRACE") {
      return refuse(
          kBlocked,
          fmt::format("the secret {} may not go into TRACE, which sends it back", secret.name),
          "leave the credentials out of TRACE requests");
    }
    return true;
  }

  bool is_in_place(const Secret& secret, bool fits, std::string_view place) {
    if (fits) return true;
    std::string fix = fmt::format("send it in the header {}", secret.header);
    if (place.starts_with("the header ")) {
      fix += fmt::format(", or set \"header: {}\" for it in your own policy file",
                         place.substr(std::string_view("the header ").size()));
    } else if (place == "the query") {
      fix += ", or set \"in: [query]\" for it in your own policy file";
    }
    return refuse(
        kBlocked,
        fmt::format("the placeholder of the secret {} is in {}, and it may go into the "
                    "header {}{}",
                    secret.name, place, secret.header, secret.in_query ? " and the query" : ""),
        std::move(fix));
  }

  bool is_there(const Secret& secret, const Value& value) {
    if (!value.bytes.empty()) return true;
    if (!value.problem.empty()) {
      return refuse(
          kMissing,
          fmt::format("the value of the secret {} cannot be used: {}", secret.name, value.problem),
          fmt::format("correct {} and give it again: pinhole policy reload", secret.from));
    }
    return refuse(kMissing, fmt::format("the secret {} has no value here", secret.name),
                  fmt::format("give it again from {}: pinhole policy reload", secret.from));
  }

  const Vault& vault_;
  const Route& route_;
};

std::expected<std::vector<std::string>, Refusal> Vault::rewrite(const Route& route,
                                                                std::string_view path,
                                                                std::vector<http::Header>& headers,
                                                                std::string& query) const {
  Rewriting rewriting(*this, route);
  const bool possible =
      path.contains(kPlaceholderMark) || query.contains(kPlaceholderMark) ||
      std::ranges::any_of(headers, [](const http::Header& header) {
        return header.value.contains(kPlaceholderMark) || basic_credentials(header.value);
      });
  if (secrets_.empty() || !possible) return std::move(rewriting.used);
  std::string changed_path(path);
  std::string changed_query = query;
  std::vector<http::Header> changed = headers;
  bool good = rewriting.replace(changed_path, "", "the path", false) &&
              rewriting.replace(changed_query, "", "the query", true);
  for (http::Header& header : changed) good = good && rewriting.replace_in_header(header);
  if (!good) return std::unexpected(std::move(rewriting.refusal));
  query = std::move(changed_query);
  headers = std::move(changed);
  return std::move(rewriting.used);
}

std::optional<BodyRewriter> Vault::body_rewriter(const Route& route, BodyForm form) const {
  if (!route.verified_tls || route.method == "TRACE") return std::nullopt;
  BodyRewriter rewriter;
  for (std::size_t i = 0; i < secrets_.size(); ++i) {
    const Secret& secret = secrets_[i];
    const std::string_view value = values_[i].text();
    if (!secret.in_body || value.empty() || !contains(route.allowed, secret.name)) continue;
    std::string spelled(value);
    if (form == BodyForm::json) spelled = json_escape(value);
    if (form == BodyForm::form) spelled = percent_encode(value);
    rewriter.swaps_.push_back({.name = secret.name,
                               .placeholder = secret.placeholder,
                               .value = WipedBytes(spelled.begin(), spelled.end())});
    explicit_bzero(spelled.data(), spelled.size());
  }
  if (rewriter.swaps_.empty()) return std::nullopt;
  return rewriter;
}

void BodyRewriter::take(std::string_view text, bool at_end, std::string& out) {
  while (true) {
    const Swap* next = nullptr;
    std::size_t first = text.size();
    for (const Swap& swap : swaps_) {
      const std::size_t at = text.substr(0, std::min(text.size(), first + swap.placeholder.size()))
                                 .find(swap.placeholder);
      if (at >= first) continue;
      first = at;
      next = &swap;
    }
    if (next == nullptr) break;
    out += text.substr(0, first);
    out.append(next->value.begin(), next->value.end());
    add_once(used_, next->name);
    text.remove_prefix(first + next->placeholder.size());
  }
  std::size_t kept = 0;
  for (const Swap& swap : swaps_) {
    const std::size_t longest = std::min(text.size(), swap.placeholder.size() - 1);
    for (std::size_t size = longest; !at_end && size > kept; --size) {
      if (text.ends_with(std::string_view(swap.placeholder).substr(0, size))) kept = size;
    }
  }
  out += text.substr(0, text.size() - kept);
  held_ = text.substr(text.size() - kept);
}

void BodyRewriter::feed(std::string_view in, std::string& out) {
  if (held_.empty()) return take(in, false, out);
  const std::string both = std::move(held_) + std::string(in);
  held_.clear();
  take(both, false, out);
}

void BodyRewriter::finish(std::string& out) { take(std::exchange(held_, {}), true, out); }

}  // namespace pinhole::secret
