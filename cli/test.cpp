#include "cli/commands.hpp"
namespace cli {
int test_command(const std::string&, const BatchOptions&) {
    fail("not yet");
}
}  // namespace cli
