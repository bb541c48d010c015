// SPDX-License-Identifier: Apache-2.0
// The secrets of one VM and their stand-ins. The guest has only the stand-ins ("placeholders"); what
// it sends is changed here, where a secret may go. The way back is in masker.h.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "http/header.h"
#include "secret/masker.h"
#include "secret/wiped.h"

namespace pinhole::secret {

/// Shorter ones would be found in texts that have nothing to do with them.
inline constexpr std::size_t kShortestValue = 16;
inline constexpr std::size_t kLongestValue = 16 << 10;
/// Of a piece at the beginning of a value. What searches for "aaaa…b" in "aaaa…" has to go through
/// all of it again at each "a": so many steps for a byte at most. Twenty and more "A" do begin the
/// tokens of some services.
inline constexpr std::size_t kMostRepeats = 32;
inline constexpr std::size_t kMostSecrets = 256;
inline constexpr std::string_view kPlaceholderMark = "PINHOLE_";
/// After the mark: 160 bits as base32 in lower case, RFC 4648 §6.
inline constexpr std::size_t kPlaceholderDigits = 32;

/// "<prefix>PINHOLE_<32 digits>", where the digits come from SHA-256 of `seed` (random, the same for
/// the life of a VM, at least 16 bytes) and the secret's name: the same again after a restart.
/// Letters, digits, "_" and "-" only, as long as the prefix has no others; so no encoding changes
/// it.
std::string make_placeholder(std::string_view prefix, std::string_view seed, std::string_view name);

/// What is wrong with a value, or nothing: its length, or anything but printable ASCII (which a
/// header cannot carry, or not in one way), or a blank at an end, or that it begins with one piece
/// over and over.
std::optional<std::string> value_fault(std::string_view value);

struct Secret {
  std::string name;
  std::string from;                      ///< "env:NAME", for messages
  std::string header = "authorization";  ///< lower case: the one place it may go
  std::string placeholder;               ///< make_placeholder()
  bool in_query = false;
  bool in_body = false;
};

/// Where a request is about to go, as policy and TLS say.
struct Route {
  std::string_view method;
  std::string_view host;
  bool verified_tls = false;
  /// Names of the secrets that may go to this host by the rule that allowed the request.
  std::span<const std::string> allowed;
};

/// Why a request with a placeholder does not go out: policy.md's code, and words for the answer.
struct Refusal {
  std::string_view code;  ///< secret_blocked (403) or secret_missing (403)
  std::string detail;
  std::string fix;
};

/// How a value must be written into a body.
enum class BodyForm { raw, json, form };
/// By the Content-Type field; raw for unknown ones.
BodyForm body_form(std::string_view content_type);

class BodyRewriter;

class Vault {
 public:
  /// Names and placeholders are unique; refused otherwise, or when there are too many.
  Result<void> add(Secret secret);
  /// Takes a value, or replaces an earlier one. An unknown name or a value_fault() is an error,
  /// which never shows the value; the secret then has none.
  Result<void> set_value(std::string_view name, std::string_view value);

  /// The values of another vault's secrets of the same name and source.
  void take_values(const Vault& other);

  [[nodiscard]] const std::vector<Secret>& secrets() const { return secrets_; }
  [[nodiscard]] bool empty() const { return secrets_.empty(); }
  [[nodiscard]] bool has_value(std::string_view name) const;

  /// Puts values in place of placeholders: in the secret's own header (within the credentials of
  /// `Authorization: Basic` too), and in the query where the secret may go there. The names of
  /// those that went in, each once. After a Refusal `headers` and `query` are as they were. `path`
  /// is only looked at.
  std::expected<std::vector<std::string>, Refusal> rewrite(const Route& route,
                                                           std::string_view path,
                                                           std::vector<http::Header>& headers,
                                                           std::string& query) const;

  /// For the bodies of requests that take this route; nothing where no secret may go into one, and
  /// the body then passes as it is: a placeholder in it is harmless. The rewriter refers to the
  /// values of now.
  [[nodiscard]] std::optional<BodyRewriter> body_rewriter(const Route& route, BodyForm form) const;

  /// What masks the values of now; null without any. Built anew after set_value(), so that an
  /// exchange that began before keeps what it has.
  [[nodiscard]] const std::shared_ptr<const MaskTable>& masks() const { return masks_; }

 private:
  struct Value {
    WipedBytes bytes;     // empty: there is none
    std::string problem;  // why, where a value was refused
    [[nodiscard]] std::string_view text() const { return {bytes.data(), bytes.size()}; }
  };
  struct Found {
    std::size_t secret;  // index
    std::size_t at;
  };
  class Rewriting;

  [[nodiscard]] std::optional<Found> find(std::string_view text, std::size_t from) const;
  [[nodiscard]] std::optional<std::size_t> index_of(std::string_view name) const;
  void make_masks();

  std::vector<Secret> secrets_;
  std::vector<Value> values_;                                  // of the same index
  std::map<std::string, std::size_t, std::less<>> by_digits_;  // a placeholder's last characters
  std::shared_ptr<const MaskTable> masks_;
};

/// Replaces placeholders in a body that comes in pieces.
class BodyRewriter {
 public:
  /// Appends to `out`; a piece that may be the beginning of a placeholder waits for more.
  void feed(std::string_view in, std::string& out);
  /// The end of the body.
  void finish(std::string& out);
  /// Names of the secrets that went in so far, each once.
  [[nodiscard]] const std::vector<std::string>& used() const { return used_; }

 private:
  friend class Vault;
  struct Swap {
    std::string name;
    std::string placeholder;
    WipedBytes value;  // in the body's own spelling
  };
  void take(std::string_view text, bool at_end, std::string& out);

  std::vector<Swap> swaps_;
  std::string held_;  // shorter than a placeholder
  std::vector<std::string> used_;
};

}  // namespace pinhole::secret
