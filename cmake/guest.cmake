# SPDX-License-Identifier: MIT
# Programs that run inside the guest, on Farcall and on the oracle: static, musl, one source file each. The C compiler
# of this world is musl-gcc. A program's first lines may hold options of its own:
#   // farcall-build: -nostdlib -mavx
set(CMAKE_EXPORT_COMPILE_COMMANDS OFF)

function(guest_program NAME SOURCE FOLDER)
  file(STRINGS ${SOURCE} line REGEX "^// farcall-build:" LIMIT_COUNT 1)
  string(REGEX REPLACE "^// farcall-build:[ ]*" "" options "${line}")
  separate_arguments(options)
  set(target ${FOLDER}_${NAME})
  add_executable(${target} ${SOURCE})
  # musl-gcc hides /usr/include; Linux's own headers (linux/, asm/) are searched after musl's.
  target_compile_options(${target} PRIVATE -O1 -std=gnu17 -Wall -Wextra -Wno-unused-parameter -fno-stack-protector
    ${options} "SHELL:-idirafter /usr/include" "SHELL:-idirafter /usr/include/x86_64-linux-gnu")
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_options(${target} PRIVATE -static -no-pie ${options})
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${NAME} RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/${FOLDER})
endfunction()

file(GLOB PROGRAMS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/linux/programs/*.c)
foreach(source IN LISTS PROGRAMS)
  get_filename_component(name ${source} NAME_WE)
  guest_program(${name} ${source} tests)
endforeach()
# Programs that the tool needs inside the guest: they are copied to /.farcall/.
foreach(name batch_runner oracle_init)
  guest_program(${name} ${CMAKE_SOURCE_DIR}/tests/linux/${name}.c support)
endforeach()
guest_program(fuzz ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz.c support)
file(GLOB BENCHES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/*.c)
foreach(source IN LISTS BENCHES)
  get_filename_component(name ${source} NAME_WE)
  guest_program(${name} ${source} bench)
endforeach()
