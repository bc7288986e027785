#include "cli/commands.hpp"
namespace cli {
int bench_command(const BenchOptions&) {
    fail("not yet");
}
}  // namespace cli
