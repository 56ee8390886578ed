"""Signs and badges in the admin's templates, where an include for each would be most of a page's work."""

from django import template

from maintenance.admin.signs import badge, sign

register = template.Library()
register.filter("sign", sign)
register.simple_tag(badge, name="badge")
