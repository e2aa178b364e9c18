# The repository as a component of a project for ESP-IDF, which reads this twice: at first as a
# script, of which it takes the Kconfig alone.
include(${CMAKE_CURRENT_LIST_DIR}/sources.cmake)
idf_component_register(SRCS ${SPLITCODEC_SOURCES}
                       INCLUDE_DIRS ${SPLITCODEC_ROOT}/csrc/include
                       KCONFIG ${SPLITCODEC_ROOT}/cmake/Kconfig)
include(${CMAKE_CURRENT_LIST_DIR}/kconfig.cmake)
target_compile_definitions(${COMPONENT_LIB} PRIVATE ${SPLITCODEC_DEFINITIONS})
