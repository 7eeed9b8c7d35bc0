// Errors and invariants.
//
// Bad input (a file, a flag, a value) throws `Error` with what, where, expected and got in one sentence; the kind
// decides the command's exit code. A broken invariant of our own stops through CHECK, which is always on and prints its
// operands. Nothing in a library folder exits or prints.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace espalier::core {

enum class ErrorKind {
  check_failed,  ///< a check the user asked for failed, or a plan was refused: exit 1
  usage,         ///< the command line is wrong: exit 2
  bad_input,     ///< a file or a value in it is wrong: exit 3
  no_device,     ///< this machine lacks the device asked for: exit 4
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& sentence) : std::runtime_error(sentence), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

/// "`where`: expected `expected`, got `got`" as an Error of kind bad_input.
[[nodiscard]] Error bad_input(std::string_view where, std::string_view expected, std::string_view got);
/// A usage error of one free sentence.
[[nodiscard]] Error usage_error(std::string sentence);

/// Thrown by CHECK: a bug of ours, never the user's.
class InvariantError : public std::logic_error {
  using std::logic_error::logic_error;
};

[[noreturn]] void fail_check(const char* file, int line, const char* condition, const std::string& operands);

}  // namespace espalier::core

#define ESPALIER_CHECK(cond) ((cond) ? void(0) : ::espalier::core::fail_check(__FILE__, __LINE__, #cond, std::string()))
#define ESPALIER_CHECK_OP(a, op, b)                                                 \
  (((a)op(b)) ? void(0)                                                             \
              : ::espalier::core::fail_check(__FILE__, __LINE__, #a " " #op " " #b, \
                                             ::fmt::format("left {}, right {}", (a), (b))))
